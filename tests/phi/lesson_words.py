"""Lists the words and forms of which the lessons are made: firms, hospitals, places, telephone numbers, dates."""

from __future__ import annotations


def listed(text: str) -> list[str]:
    return text.replace("\n", " ").split("; ")


LOCALES = listed("""\
da_DK; fi_FI; hu_HU; ro_RO; hr_HR; sl_SI; lt_LT; lv_LV; et_EE; id_ID; fil_PH; zu_ZA; tw_GH; ig_NG; ha_NG; en_KE;
en_PK; uz_UZ; az_AZ; sq_AL; fr_CA; en_US; en_US; sw; pt_PT; es_CO; no_NO; mt_MT; en_TH; is_IS""")
ENDINGS = listed("""\
hospital; clinic; medical center; health; surgery; nursing home; care center; urgent care; manor; elementary;
high school; dialysis; memorial; hospice; house; lodge; regional; infirmary; general; family practice; pharmacy;
er; rehab; university; icu; imaging center; women's health; nursery; primary school; base hospital;
district hospital; medical practice; walk-in centre; care home; maternity; day surgery; fertility centre;
eye institute; health centre; birthing center; oncology; orthopaedics; sanatorium; gp practice; ward; unit; lab;
diagnostics; outpatients; college; playgroup; convent; barracks clinic; polyclinic; nhs trust; children's""")
FIRMS = [
    *listed("""\
foods; trucking; logistics; steel; inc; llc; & sons; motors; construction; mining; airlines; united; plumbing;
roofing; school district"""),
    "",
]
FAMOUS = listed("""\
walmart; cvs; target; ford; tesla; fedex; ikea; aldi; boots; qantas; safeway; wendys; costco; home depot;
john deere; starbucks; nestle; chevron; intel; toyota; sainsburys; walgreens; rite aid; kroger; publix; lidl;
asda; morrisons; ups; dhl; delta; ryanair; easyjet; boeing; raytheon; general motors; google; microsoft; apple;
netflix; uber; lyft; doordash; mcdonalds; burger king; taco bell; chipotle; waffle house; olive garden;
dollar general; lowes; best buy; macys; nordstrom; goodwill; caterpillar; tyson; cargill; bp; shell; exxon;
halliburton; verizon; comcast; bt; vodafone; barclays; hsbc; wells fargo; chase; deloitte; kpmg; usps; amtrak;
network rail; british gas; rolls royce; bae systems; woolworths; coles; bunnings; telstra; tim hortons; loblaws;
bombardier; siemens; bosch; volkswagen; renault; peugeot; heb; wawa; sheetz; petsmart; planet fitness; subway;
dominos; greggs; costa; john lewis; homebase""")
HOSPITALS = listed("""\
Kaiser; Mercy; Good Samaritan; Presbyterian; Cedars; Methodist; Baptist; County General; Mount Sinai; Sutter;
Banner; Geisinger; Ochsner; the VA; Cleveland Clinic; MGH; NYU; UCSF; Sacred Heart; Holy Cross; Providence;
Sentara; Emory; Duke; Vanderbilt; Stanford; Johns Hopkins; Addenbrookes; Guys; Kings; the Royal Free;
the Infirmary; Ninewells; Princess Alexandra; St Marys; St Lukes; St Vincents; Our Lady of Lourdes; Trinity;
Legacy; Childrens; Queen Elizabeth; Bellevue; Parkland; Grady; Harborview; Memorial Hermann; Lakeside; Riverside;
Northside; The Alfred; Royal Perth; Westmead; Monash; Groote Schuur; Tygerberg; Baragwanath; Kenyatta; Mulago;
Korle Bu; Luth; Aga Khan; Apollo; Fortis; AIIMS; KEM; Max Saket; Tata Memorial; Charite; Karolinska; Gemelli;
La Paz; Hadassah; Rambam; SingHealth; Tan Tock Seng; Queen Mary; Siriraj; Makati Med; the Mater; the Rotunda;
the Coombe; Beaumont; Tallaght; St James's; Cork University; Galway UHG; the Western; the Brompton; Papworth;
Great Ormond Street; Alder Hey; the Christie; Barts; UCLH; Tufts; Brigham; Jackson; Ben Taub; Denver Health;
Hennepin; Sickkids; Sunnybrook; Sheikh Khalifa; Hamad; King Faisal""")
SITES = listed("""\
Station; Bridge; Mall; Church; Shelter; Park; Beach; Airport; Prison; Jail; Campus; Motel; Inn; Gym; Library;
Plaza; Farm; Island; Lake; River; Pier; Temple; Mosque; Base; Trail; Market; Arena; Harbour; Woods; Creek; Camp;
Depot; Barracks; Falls; Chapel""")
STREETS = listed("""\
st; street; rd; road; ave; avenue; ln; lane; dr; ct; way; blvd; pl; close; crescent; terrace; drive; court; hwy;
park; row; grove; gardens""")
HOLIDAYS = listed("""\
Ramadan; Easter; Christmas; Thanksgiving; Lent; Diwali; Passover; Yom Kippur; New Year; Eid; Halloween;
spring break; Hanukkah; Memorial Day; Labor Day""")
NATIONS = listed("""\
Canadian; British; Korean; Japanese; American; Dutch; Danish; Mexican; Haitian; Somali; Chinese; Indian;
Australian; European; Italian; French; German; Swedish; Nigerian; Filipino; Vietnamese; Hispanic; Navajo;
Ashkenazi; Amish; Mormon; Muslim""")
PHONES = listed("""\
07### ######; 0#### ######; (0##) #### ####; +## # ## ## ## ##; 0# ## ## ## ##; +### ### ### ###; ###-####;
### ####; 1-###-###-####; ##########; +1 (###) ###-####; 0#########; 0## ### ####; 1 (###) ### ####;
+## ## #### ####; x####; 0###-######; +## #### ######""")
SPACED = listed("""\
####### ??; ####### ?; ### ### ###; ### ### ####; ### ## ####; ## ## ## ### ##; #### ##### #; #### #### ####;
?? ## ## ## ?; ###### ####; ###### ###?; ??? ####; ???? #### ####; ?# ## ## ##; ## ### ###; ?? ######; ##-###-####;
#### ###; ?## ### ###; ## ###### ? ###""")
MONTHS = tuple(
    year.split()
    for year in (
        "January February March April May June July August September October November December",
        "january february march april may june july august september october november december",
        "janvier février mars avril mai juin juillet août septembre octobre novembre décembre",
        "enero febrero marzo abril mayo junio julio agosto septiembre octubre noviembre diciembre",
    )
)
DATES = listed("""\
{dd}.{mm}.{yy}; {d}.{m}.{yyyy}; {d}.{m}.{yy}; {th} {name}; {d} {mon}; {name} {th}; {mon} '{yy}; {mon} {yyyy};
{d}/{m}; {m}/{d}; {m}/{d}/{yy}; {dd}/{mm}/{yyyy}; {yyyy}{mm}{dd}; {yyyy}-{mm}-{dd}; {th} of {name};
{mon} {d}-{later}; {d}. {name} {yyyy}; {d} {name} {yyyy}; {d} de {name}; {dd}-{mon}-{yyyy}; {d}{mon}{yy};
{mon} {d}; {dd}.{mm}; {dd}.{mm}; {d}.{m}.; {dd}/{mm}; {dd}/{mm}; {d}/{m}/{yyyy}; {d}-{mon}; {d}{mon};
{th} wk of {mon}; first week of {name}; end of {name} {yyyy}; mid-{name}; the {th} of {name}; {name} the {th};
w/c {d}/{m}; {mon}-{yyyy}; {mm}-{dd}; {yyyy}.{mm}.{dd}; {m}-{d}-{yy}; {m}/{yyyy}; {yyyy}/{mm}/{dd};
{name} {d} {yyyy}; {mon}.{d}""")
PARTICLES = listed("""\
de la; van; von; al; El; de; bin; Mc; O; dos; Mac an; Mac; Nic; Ní; Ó; Ui; Mac Giolla; binti; bint; ibn; wa;
van der; van de; ter; da; do; di; della; du; le; la; Abu; Ben; Bar; Al-; Ap; St.; zu; af; oude""")
WORDS_THAT_ARE_NAMES = listed("""\
Will; May; An; See; Long; Hung; Shy; Man; Dear; Good; Young; Old; Little; Rich; Sunny; Happy; Precious; Blessing;
Gift; Comfort; Patience; Mercy; Prince; Princess; Chance; Storm; Sky; River; Lake; Stone; Wood""")
STREETS_ABROAD = listed("""\
{name}straße {n}; {name}str. {n}; {name}weg {n}; Calle {name} {n}; C/ {name} {n}; Avenida {name} {n};
Rua {name}, {n}; {n} rue de {name}; {n} rue {name}; {n} Bóthar {name}; {n} Bóthar na {name}; {n} Sráid {name};
Via {name} {n}; Piazza {name} {n}; ul. {name} {n}; Jalan {name} {n}; Jl. {name} No. {n}; {n} {name} Marg;
H.No {n}, {name} Nagar; {n}/2 {name} Colony; {name}gatan {n}; {name}laan {n}; Plot {n}, {name} Layout;
Block {n} {name} Heights; Flat {n}, {name} House; Unit {n}/12 {name} Parade; Lot {n} {name} Highway;
House {n} Sector {n}, {name}; The Old {name}, Mill Lane; {name} Cottage, Church Road; {name} Farm;
{n} {name} Boreen""")
ROLES = listed("""\
firefighter; mayor; bishop; headteacher; goalkeeper; midwife; postman; vet; ferry pilot; lighthouse keeper;
choir leader; coroner; weather presenter; judge; senator; undertaker; jockey; harpist; glassblower; astronaut;
priest; imam; butcher; blacksmith; pilot; twin; woman surgeon; blind solicitor; female captain; boxer;
councillor; baker; nun; drummer; chess champion; sheriff; ranger; farrier""")
STORIES = listed("""\
the only {who} in {place}; the first {who} of {place}; the {who} of {place}; the wife of the {who} of {place};
the son of the {who} at {named}; {place}'s only {who}; our county's only {who}; the island's last {who};
the former {who} of {named}; the oldest {who} in {place}; the {who} at {named}; a former Miss {place};
the {who} from the {place} news; the youngest {who} ever to win the {place} cup;
the {who} who survived the {named} fire""")
