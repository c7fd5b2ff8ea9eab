"""Says a FHIR MedicationKnowledge (R4B) as headings and rows, each of which says what its values are.

Half a dosage is a wrong one: what it holds and cannot be put into words is refused, and so is a contraindication that
nothing names. Narratives are passed over, since they say the same again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from producers.sources.documents.blocks import Block, rows, text, titled
from tenancy.errors import Refused

Json = Mapping[str, Any]
Named = Callable[[Json], str]
"""The name of what a reference points to."""

_UNITS = {"s": "second", "min": "minute", "h": "hour", "d": "day", "wk": "week", "mo": "month", "a": "year"}
_TIMING = {"code", "repeat"}
_REPEAT = {"frequency", "period", "periodUnit", "boundsDuration"}
_DOSAGE = {
    *("sequence", "text", "additionalInstruction", "patientInstruction", "timing", "asNeededBoolean"),
    *("asNeededCodeableConcept", "site", "route", "method", "doseAndRate", "maxDosePerPeriod"),
    *("maxDosePerAdministration", "maxDosePerLifetime"),
}


def name_of(resource: Json) -> str:
    """What the medication is called; its id where nothing says that."""
    return concept(resource.get("code")) or next(iter(resource.get("synonym", ())), "") or str(resource.get("id", ""))


def medication_blocks(resource: Json, named: Named) -> Iterator[Block]:
    """Raises :class:`Refused` for a dosage that cannot be said."""
    yield from titled(1, name_of(resource))
    yield from _facts(
        {
            "Also called": ", ".join(resource.get("synonym", ())),
            "Kind": _concepts(resource.get("productType")),
            "Form": concept(resource.get("doseForm")),
            "Amount": quantity(resource.get("amount")),
            "Route": _concepts(resource.get("intendedRoute")),
            "Manufacturer": _named(resource.get("manufacturer"), named),
            "Medication": ", ".join(_named(one, named) for one in resource.get("associatedMedication", ())),
        }
    )
    for heading, table in _tables(resource, named):
        found = [row for row in table if any(row.values())]
        if found:
            yield from titled(2, heading)
        for row in found:
            yield from _facts(row)
    if preparation := resource.get("preparationInstruction"):
        yield from titled(2, "Preparation")
        yield from text(preparation)


def _facts(row: Mapping[str, str]) -> Iterator[Block]:
    said = {name: value for name, value in row.items() if value}
    yield from rows([list(said), list(said.values())] if said else [], headers=1)


def _tables(resource: Json, named: Named) -> Iterator[tuple[str, list[dict[str, str]]]]:
    def many(name: str) -> Sequence[Json]:
        return resource.get(name) or ()

    yield "Ingredients", [_ingredient(one, named) for one in many("ingredient")]
    yield "Administration", [row for one in many("administrationGuidelines") for row in _guideline(one, named)]
    contraindications = [{"Contraindication": _surely(one, named)} for one in many("contraindication")]
    yield "Contraindications", contraindications
    yield (
        "Monitoring",
        [{"Programme": one.get("name", ""), "Type": concept(one.get("type"))} for one in many("monitoringProgram")],
    )
    yield (
        "Classification",
        [
            {concept(one.get("type")) or "Class": _concepts(one.get("classification"))}
            for one in many("medicineClassification")
        ],
    )
    yield "Characteristics", [_characteristic(one) for one in many("drugCharacteristic")]
    yield "Kinetics", [_kinetics(one) for one in many("kinetics")]
    yield "Regulation", [_regulation(one, named) for one in many("regulatory")]
    packaging = resource.get("packaging") or {}
    yield "Packaging", [{"Pack": concept(packaging.get("type")), "Holds": quantity(packaging.get("quantity"))}]
    yield (
        "Cost",
        [
            {"Type": concept(one.get("type")), "Cost": _money(one.get("cost")), "Source": one.get("source", "")}
            for one in many("cost")
        ],
    )
    yield (
        "Related",
        [
            {concept(one.get("type")) or "Related": ", ".join(_named(each, named) for each in one.get("reference", ()))}
            for one in many("relatedMedicationKnowledge")
        ],
    )
    monographs = [
        {concept(one.get("type")) or "Monograph": _named(one.get("source"), named)} for one in many("monograph")
    ]
    yield "Monographs", monographs


def _ingredient(one: Json, named: Named) -> dict[str, str]:
    return {
        "Ingredient": concept(one.get("itemCodeableConcept")) or _surely(one.get("itemReference"), named),
        "Active": _yes(one.get("isActive")),
        "Strength": _ratio(one.get("strength")),
    }


def _guideline(one: Json, named: Named) -> Iterator[dict[str, str]]:
    indication = concept(one.get("indicationCodeableConcept")) or _surely(one.get("indicationReference"), named)
    whom = "; ".join(
        f"{concept(each.get('characteristicCodeableConcept')) or quantity(each.get('characteristicQuantity'))} "
        f"{', '.join(each.get('value', ()))}".strip()
        for each in one.get("patientCharacteristics", ())
    )
    about = {"Indication": indication, "For": whom}
    said = [
        {**about, "Type": concept(each.get("type")), "Dosage": dosage(step)}
        for each in one.get("dosage", ())
        for step in each.get("dosage", ())
    ]
    yield from said or [about]


def _characteristic(one: Json) -> dict[str, str]:
    value = concept(one.get("valueCodeableConcept")) or one.get("valueString", "") or quantity(one.get("valueQuantity"))
    return {concept(one.get("type")) or "Characteristic": value}


def _kinetics(one: Json) -> dict[str, str]:
    return {
        "Half-life": quantity(one.get("halfLifePeriod")),
        "Area under the curve": ", ".join(quantity(each) for each in one.get("areaUnderCurve", ())),
        "LD50": ", ".join(quantity(each) for each in one.get("lethalDose50", ())),
    }


def _regulation(one: Json, named: Named) -> dict[str, str]:
    most = one.get("maxDispense") or {}
    per = f" per {quantity(most.get('period'))}" if most.get("period") else ""
    return {
        "Authority": _named(one.get("regulatoryAuthority"), named),
        "Schedule": ", ".join(concept(each.get("schedule")) for each in one.get("schedule", ())),
        "Substitution": ", ".join(
            f"{concept(each.get('type'))} {'allowed' if each.get('allowed') else 'not allowed'}"
            for each in one.get("substitution", ())
        ),
        "Dispensed at most": f"{quantity(most.get('quantity'))}{per}" if most else "",
    }


def dosage(one: Json) -> str:
    """A dosage in words: its own text, or its parts, with what bounds it. Raises :class:`Refused`."""
    if own := one.get("text"):
        parts = [own]
    else:
        _all_said(one, _DOSAGE)
        needed = concept(one.get("asNeededCodeableConcept"))
        parts = [
            *(_dose(each) for each in one.get("doseAndRate", ())),
            concept(one.get("route")),
            concept(one.get("method")),
            concept(one.get("site")),
            _timing(one.get("timing") or {}),
            f"as needed for {needed}" if needed else "as needed" if one.get("asNeededBoolean") else "",
            *(concept(each) for each in one.get("additionalInstruction", ())),
            one.get("patientInstruction", ""),
        ]
    most = [
        _ratio(one.get("maxDosePerPeriod")),
        f"{quantity(one['maxDosePerAdministration'])} at once" if "maxDosePerAdministration" in one else "",
        f"{quantity(one['maxDosePerLifetime'])} in a lifetime" if "maxDosePerLifetime" in one else "",
    ]
    return ", ".join([part for part in parts if part] + [f"at most {part}" for part in most if part])


def _dose(one: Json) -> str:
    dose = quantity(one.get("doseQuantity")) or _range(one.get("doseRange"))
    rate = _ratio(one.get("rateRatio")) or _range(one.get("rateRange")) or quantity(one.get("rateQuantity"))
    return " ".join(part for part in (concept(one.get("type")), dose, f"at {rate}" if rate else "") if part)


def _timing(timing: Json) -> str:
    _all_said(timing, _TIMING)
    repeat = timing.get("repeat") or {}
    _all_said(repeat, _REPEAT)
    said = [concept(timing.get("code"))]
    if "frequency" in repeat or "period" in repeat:
        times, period = repeat.get("frequency", 1), repeat.get("period", 1)
        unit = _UNITS.get(repeat.get("periodUnit", ""), repeat.get("periodUnit", ""))
        said.append(f"{times} {'time' if times == 1 else 'times'} every {period} {unit}{'' if period == 1 else 's'}")
    if "boundsDuration" in repeat:
        said.append(f"for {quantity(repeat['boundsDuration'])}")
    return ", ".join(part for part in said if part)


def _all_said(part: Json, known: set[str]) -> None:
    if set(part) - known - {"id", "extension"}:
        why = "a dosage holds what cannot be put into words here; write it out in its text, and leave that out"
        raise Refused("unsaid-dosage", f"refused: {why}")


def concept(one: Json | None) -> str:
    """A CodeableConcept's text, else what its first code is called, else the code."""
    if not one:
        return ""
    coding = (one.get("coding") or [{}])[0]
    return str(one.get("text") or coding.get("display") or coding.get("code") or "")


def _concepts(many: list[Json] | None) -> str:
    return ", ".join(concept(one) for one in many or ())


def quantity(one: Json | None) -> str:
    """A value with its comparator and unit."""
    if not one or one.get("value") is None:
        return ""
    return f"{one.get('comparator', '')}{one['value']} {one.get('unit') or one.get('code') or ''}".strip()


def _ratio(one: Json | None) -> str:
    if not one:
        return ""
    return " per ".join(part for part in (quantity(one.get("numerator")), quantity(one.get("denominator"))) if part)


def _range(one: Json | None) -> str:
    if not one:
        return ""
    low, high = quantity(one.get("low")), quantity(one.get("high"))
    return f"{low} to {high}" if low and high else f"from {low}" if low else f"up to {high}" if high else ""


def _money(one: Json | None) -> str:
    return f"{one.get('value', '')} {one.get('currency', '')}".strip() if one else ""


def _yes(value: bool | None) -> str:
    return "" if value is None else "yes" if value else "no"


def _surely(reference: Json | None, named: Named) -> str:
    """As :func:`_named`; refused where nothing names it."""
    found = _named(reference, named)
    if reference and not found:
        raise Refused("unnamed", "refused: a reference of it has no display, and what it points to is not in the file")
    return found


def _named(reference: Json | None, named: Named) -> str:
    return named(reference) if reference else ""
