"""Lists the words and forms of which the lessons are made: firms, hospitals, places, telephone numbers, dates."""

from __future__ import annotations


def _listed(text: str) -> list[str]:
    return text.replace("\n", " ").split("; ")


LOCALES = _listed("""\
da_DK; fi_FI; hu_HU; ro_RO; hr_HR; sl_SI; lt_LT; lv_LV; et_EE; id_ID; fil_PH; zu_ZA; tw_GH; ig_NG; ha_NG;
en_KE; en_PK; uz_UZ; az_AZ; sq_AL; fr_CA; en_US; en_US; sw; pt_PT; es_CO; no_NO; mt_MT; en_TH; is_IS""")
ENDINGS = _listed("""\
hospital; clinic; medical center; health; surgery; nursing home; care center; urgent care; manor; elementary;
high school; dialysis; memorial; hospice; house; lodge; regional; infirmary; general; family practice;
pharmacy; er; rehab; university""")
FIRMS = [
    *_listed("""\
foods; trucking; logistics; steel; inc; llc; & sons; motors; construction; mining; airlines; united; plumbing;
roofing; school district"""),
    "",
]
FAMOUS = _listed("""\
walmart; cvs; target; ford; tesla; fedex; ikea; aldi; boots; qantas; safeway; wendys; costco; home depot; john
deere; starbucks; nestle; chevron; intel; toyota; sainsburys; walgreens; rite aid; kroger; publix; lidl; asda;
morrisons; ups; dhl; delta; ryanair; easyjet; boeing; raytheon; general motors; google; microsoft; apple;
netflix; uber; lyft; doordash; mcdonalds; burger king; taco bell; chipotle; waffle house; olive garden; dollar
general; lowes; best buy; macys; nordstrom; goodwill; caterpillar; tyson; cargill; bp; shell; exxon;
halliburton; verizon; comcast; bt; vodafone; barclays; hsbc; wells fargo; chase; deloitte; kpmg; usps; amtrak;
network rail; british gas; rolls royce; bae systems; woolworths; coles; bunnings; telstra; tim hortons;
loblaws; bombardier; siemens; bosch; volkswagen; renault; peugeot; heb; wawa; sheetz; petsmart; planet
fitness; subway; dominos; greggs; costa; john lewis; homebase""")
HOSPITALS = _listed("""\
Kaiser; Mercy; Good Samaritan; Presbyterian; Cedars; Methodist; Baptist; County General; Mount Sinai; Sutter;
Banner; Geisinger; Ochsner; the VA; Cleveland Clinic; MGH; NYU; UCSF; Sacred Heart; Holy Cross; Providence;
Sentara; Emory; Duke; Vanderbilt; Stanford; Johns Hopkins; Addenbrookes; Guys; Kings; the Royal Free; the
Infirmary; Ninewells; Princess Alexandra; St Marys; St Lukes; St Vincents; Our Lady of Lourdes; Trinity;
Legacy; Childrens; Queen Elizabeth; Bellevue; Parkland; Grady; Harborview; Memorial Hermann; Lakeside;
Riverside; Northside""")
SITES = _listed("""\
Station; Bridge; Mall; Church; Shelter; Park; Beach; Airport; Prison; Jail; Campus; Motel; Inn; Gym; Library;
Plaza; Farm; Island; Lake; River; Pier; Temple; Mosque; Base; Trail; Market; Arena; Harbour; Woods; Creek;
Camp; Depot; Barracks; Falls; Chapel""")
STREETS = _listed("""\
st; street; rd; road; ave; avenue; ln; lane; dr; ct; way; blvd; pl; close; crescent; terrace; drive; court;
hwy; park; row; grove; gardens""")
HOLIDAYS = _listed("""\
Ramadan; Easter; Christmas; Thanksgiving; Lent; Diwali; Passover; Yom Kippur; New Year; Eid; Halloween; spring
break; Hanukkah; Memorial Day; Labor Day""")
NATIONS = _listed("""\
Canadian; British; Korean; Japanese; American; Dutch; Danish; Mexican; Haitian; Somali; Chinese; Indian;
Australian; European; Italian; French; German; Swedish; Nigerian; Filipino; Vietnamese; Hispanic; Navajo;
Ashkenazi; Amish; Mormon; Muslim""")
PHONES = _listed("""\
07### ######; 0#### ######; (0##) #### ####; +## # ## ## ## ##; 0# ## ## ## ##; +### ### ### ###; ###-####;
### ####; 1-###-###-####; ##########; +1 (###) ###-####; 0#########; 0## ### ####; 1 (###) ### ####; +## ##
#### ####; x####; 0###-######; +## #### ######""")
MONTHS = tuple(
    year.split()
    for year in (
        "January February March April May June July August September October November December",
        "january february march april may june july august september october november december",
        "janvier février mars avril mai juin juillet août septembre octobre novembre décembre",
        "enero febrero marzo abril mayo junio julio agosto septiembre octubre noviembre diciembre",
    )
)
DATES = _listed("""\
{dd}.{mm}.{yy}; {d}.{m}.{yyyy}; {d}.{m}.{yy}; {th} {name}; {d} {mon}; {name} {th}; {mon} '{yy}; {mon} {yyyy};
{d}/{m}; {m}/{d}; {m}/{d}/{yy}; {dd}/{mm}/{yyyy}; {yyyy}{mm}{dd}; {yyyy}-{mm}-{dd}; {th} of {name}; {mon}
{d}-{later}; {d}. {name} {yyyy}; {d} {name} {yyyy}; {d} de {name}; {dd}-{mon}-{yyyy}; {d}{mon}{yy}; {mon} {d};
{m}-{d}-{yy}; {m}/{yyyy}; {yyyy}/{mm}/{dd}; {name} {d} {yyyy}; {mon}.{d}""")
