"""The mapping file: names the service of a log, and the activities that end a trace."""

import codecs
import json
from collections import Counter
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError
from pydantic_core import ErrorDetails

from api.client.ids import require_free
from api.interop.xes.file_kinds import START, instead_of_json
from api.problems.error_texts import sentence
from domain.types import Id, Label, Name

Outcome = Literal["completed", "failed", "cancelled"]
NewId = Annotated[Id, AfterValidator(require_free)]
"""An id that is stored in the log, so a reserved one is refused before anything is sent."""


class MappingError(Exception):
    """The mapping file cannot be used."""


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class MappedService(_Part):
    id: NewId = Field(alias="$id")
    name: Name
    provider: NewId


class MappedFailure(_Part):
    code: Label = "FAILED"
    recoverable: bool = False


class Mapping(_Part):
    service: MappedService
    customer: NewId
    outcomes: dict[Label, Outcome] = {}
    failure: MappedFailure = MappedFailure()


def load_mapping(path: Path) -> Mapping:
    """Read a mapping file. Raises `MappingError`, which names every wrong field."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise MappingError(f"{path}: {error.strerror}") from None
    if kind := instead_of_json(content[:START]):
        raise MappingError(f"{path}: not a mapping (JSON): it is {kind}")
    content = content.removeprefix(codecs.BOM_UTF8)
    try:
        mapping = Mapping.model_validate_json(content)
        json.loads(content, object_pairs_hook=_require_unique)
    except ValidationError as error:
        raise MappingError(f"{path}: {_wrong_fields(error)}") from None
    except KeyError as error:
        raise MappingError(f"{path}: {error.args[0]}: is given twice") from None
    return mapping


def _require_unique(pairs: list[tuple[str, object]]) -> None:
    counts = Counter(name for name, _ in pairs)
    for name, count in counts.items():
        if count > 1:
            raise KeyError(name)


PARTS: dict[tuple[int | str, ...], type[_Part]] = {
    (): Mapping,
    ("service",): MappedService,
    ("failure",): MappedFailure,
}
"""The models of the parts of a mapping, by path."""


def _wrong_fields(error: ValidationError) -> str:
    return "; ".join(
        f"{'.'.join(str(part) for part in wrong['loc']) or 'the file'}: {_describe(wrong)}"
        for wrong in error.errors(include_url=False)
    )


def _describe(wrong: ErrorDetails) -> str:
    if wrong["type"] != "extra_forbidden":
        return sentence(wrong)
    fields = PARTS[wrong["loc"][:-1]].model_fields.items()
    known = ", ".join(f"`{field.alias or name}`" for name, field in fields)
    return f"is not known here; there are {known}"
