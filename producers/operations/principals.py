"""Maps our principals to Kafka's names: a prefix plus our name, or the names in a file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from pydantic import StringConstraints, TypeAdapter, ValidationError

from producers.settings import OperatorSettings
from schemas.bus.access import PRINCIPALS, Right, grants
from tenancy.errors import Refused

ADMINISTRATORS = "administrators"

# No wildcard: to Kafka that is everybody, also somebody who is nobody here.
_Name = Annotated[str, StringConstraints(pattern=r"^[A-Za-z]+:(?:[^*].*|\*.+)$")]
_FILE: TypeAdapter[dict[str, tuple[_Name, ...]]] = TypeAdapter(dict[str, tuple[_Name, ...]])


@dataclass(frozen=True)
class Principals:
    """``names``: by principal of the contract; one may have several names, or none where nobody is it.
    ``administrators`` may have whatever rights they have.
    """

    names: Mapping[str, tuple[str, ...]]
    administrators: tuple[str, ...] = ()

    def rights(self) -> tuple[Right, ...]:
        """Everything that the contract gives, each once."""
        given = (right for who in PRINCIPALS for name in self.names[who] for right in _rights(who, name))
        return tuple(dict.fromkeys(given))


def _rights(who: str, name: str) -> tuple[Right, ...]:
    return tuple(Right(principal=name, **dict(grant)) for grant in grants(who))


def principals(settings: OperatorSettings) -> Principals:
    """Raises :class:`Refused`, quoting nothing of the file but our own words."""
    names = {who: (f"{settings.kafka_principal_prefix}{who}",) for who in PRINCIPALS}
    given = {} if settings.kafka_principals_file is None else _read(settings.kafka_principals_file)
    administrators = given.pop(ADMINISTRATORS, ())
    return Principals({**names, **given}, administrators)


def _read(path: Path) -> dict[str, tuple[str, ...]]:
    why = f"refused: SANO_KAFKA_PRINCIPALS_FILE, {path},"
    try:
        given = _FILE.validate_json(path.read_bytes())
    except OSError as error:
        raise Refused("bad-settings", f"{why} cannot be read ({error.strerror})") from None
    except ValidationError:
        raise Refused("bad-settings", f'{why} does not map principals to lists of names such as "User:x"') from None
    if given.keys() - {*PRINCIPALS, ADMINISTRATORS}:
        raise Refused("bad-settings", f"{why} may name {', '.join((*PRINCIPALS, ADMINISTRATORS))} and nobody else")
    return given
