"""CustomResourceDefinitions generated from the models. Pure.

pydantic's JSON schema is not a structural schema: it has `$ref`, `anyOf` with null, numeric exclusive bounds and
titles. Nullable fields become optional ones, because the API server distinguishes an absent field from a null.
"""

import copy
import json
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue
from pydantic_core import core_schema, to_jsonable_python

from contentgen_contract import patterns
from contentgen_contract.catalogue.entries import InputField, entries_of
from contentgen_contract.names import CATEGORY, FINAL_PHASES, GROUP, VERSION, Kind
from contentgen_contract.resources import languages, spec_checks
from contentgen_contract.resources.content_budget import (
    BUDGET_KIND,
    BUDGET_PLURAL,
    BUDGET_SHORT_NAME,
    VALUES_OF_TERMS,
    BudgetLimits,
    BudgetStatus,
    ContentBudgetSpec,
    LabelTerm,
)
from contentgen_contract.resources.models import names_of
from contentgen_contract.resources.operator_class import (
    CLASS_KIND,
    CLASS_PLURAL,
    DEFAULT_CLASS,
    OperatorClassSpec,
)
from contentgen_contract.resources.prices import IMAGE_MODELS
from contentgen_contract.resources.spec import (
    SPECS,
    Captions,
    Dataset,
    Faces,
    ImageGenerationSpec,
    Lora,
    SceneDetection,
    TimeRange,
    Training,
    TranscriptionOptions,
)
from contentgen_contract.resources.status import ConditionStatus, ResourceStatus, VersionStatus

Schema = dict[str, Any]

MAX_NAME = 52  # Job names contain the resource's name, and pod names add a suffix


@dataclass(frozen=True)
class Rule:
    """A CEL validation rule: of several fields, or in place of a pattern whose error would not explain itself."""

    holds: str  # the CEL expression
    message: str
    shows: str = ""  # a CEL expression for a message that includes the values
    field: str = ""  # the field in the error, for a rule of its parent
    secret: bool = False  # the API server must not include the value in the error

    def as_schema(self) -> Schema:
        """The rule as an item of `x-kubernetes-validations`."""
        rule = {"rule": self.holds, "message": self.message}
        if self.shows:
            rule["messageExpression"] = self.shows
        if self.field:
            rule["fieldPath"] = f".{self.field}"
        if self.secret:
            rule["reason"] = "FieldValueForbidden"  # the only reason whose message omits the value
        return rule


def _known_language() -> Rule:
    """`languages.is_admitted` in CEL: AssemblyAI's codes, and spellings that were always admitted."""
    code, near = "self.lowerAscii().replace('-', '_')", str(languages.SUGGESTIONS)
    codes, base = str([languages.AUTO, *languages.CODES]), f"{code}.substring(0, 2)"
    # Another rule reports a text of another form.
    form, earlier = f"self.matches(r'{patterns.LANGUAGE}')", f"self.matches(r'{languages.ALWAYS_ADMITTED}')"
    return Rule(
        holds=f"!{form} || {earlier} || {code} in {codes}",
        message="must be auto or a language code of AssemblyAI, such as en, en_us or pt",
        shows="'%s must be a language code of AssemblyAI, such as en, en_us or pt; %s'.format([self, "
        f"{code} in {near} ? 'did you mean ' + {near}[{code}] + '?' : "
        f"{code}.matches('^.._') && {base} in {codes} ? 'did you mean ' + {base} + '?' : "
        "'auto detects the language'])",
    )


_WITHOUT_LORAS = sorted(
    name
    for entry in entries_of(Kind.IMAGE_GENERATION)
    if not entry.takes(InputField.LORAS)
    for name in names_of(entry.endpoint)
)
_IMAGE_MODELS = sorted(name for model in IMAGE_MODELS for name in names_of(model))

# (model, field) -> rules of that field; the field "" is the model itself.
_RULES: dict[tuple[type[BaseModel], str], tuple[Rule, ...]] = {
    (Captions, "template"): (
        Rule(
            holds="self.contains('[trigger]')",
            message="captions.template must contain [trigger], which stands for the trigger word",
            shows="'captions.template is \"' + self + '\" and must contain [trigger], "
            "which stands for the trigger word'",
        ),
    ),
    (SceneDetection, ""): (
        Rule(
            # The API server evaluates rules on the default {} before it adds the defaults below it.
            holds="!has(self.threshold) || has(self.detector) && self.detector != 'auto'",
            message="threshold must only be set with a detector that is not auto",
            # One format(): concatenation with a text of unknown length would count as unbounded in the cost budget.
            shows="'threshold is %s; threshold must only be set with a detector that is not auto'"
            ".format([self.threshold])",
            field="threshold",
        ),
    ),
    (TimeRange, ""): (
        Rule(
            # Another rule reports a text that is not a number.
            holds=f"!has(self.start) || !has(self.end) || !self.start.matches(r'{patterns.DECIMAL}') "
            f"|| !self.end.matches(r'{patterns.DECIMAL}') || double(self.end) > double(self.start)",
            message="end must be after start",
            shows="'start is ' + self.start + ' and end is ' + self.end + '; end must be after start'",
            field="end",
        ),
    ),
    (Faces, ""): (
        Rule(
            holds="!has(self.single) || !self.single || self.mode != 'Ignore'",
            message="single must only be true with mode Prefer or Require",
            shows="'single is true and mode is ' + self.mode + '; single must only be true with Prefer or Require'",
            field="single",
        ),
    ),
    (Dataset, ""): (
        Rule(
            # The API server evaluates rules on the default {} before it adds the defaults below it.
            holds="!has(self.maxImages) || !has(self.minImages) || self.maxImages >= self.minImages",
            message="maxImages must be at least minImages (150 and 10 when left out)",
            shows="'maxImages is %d and minImages is %d; maxImages must be at least minImages'"
            ".format([self.maxImages, self.minImages])",
            field="maxImages",
        ),
    ),
    (TranscriptionOptions, "language"): (_known_language(),),
    (Lora, ""): (
        Rule(
            holds="has(self.loraRef) != has(self.path)",
            message="exactly one of loraRef and path must be set",
            shows="has(self.path) ? 'both loraRef and path are set; exactly one of loraRef and path must be'"
            " : 'neither is set; exactly one of loraRef and path must be'",
        ),
    ),
    (Lora, "scale"): (
        Rule(
            # Another rule reports a text that is not a number.
            holds=f"!self.matches(r'{patterns.DECIMAL}') || double(self) > 0.0",
            message=f"scale {spec_checks.SCALE}",
            shows=f"'scale is ' + self + '; it {spec_checks.SCALE}'",
        ),
    ),
    (Training, "learningRate"): (
        Rule(
            holds=f"!self.matches(r'{patterns.DECIMAL}') || (double(self) > 0.0 && double(self) <= 1.0)",
            message=f"learningRate {spec_checks.LEARNING_RATE}",
            shows=f"'learningRate is ' + self + '; it {spec_checks.LEARNING_RATE}'",
        ),
    ),
    (Training, "model"): (
        Rule(
            holds=f"!(self in {_IMAGE_MODELS})",
            message=f"model {spec_checks.NOT_AN_IMAGE_MODEL}",
            shows=f"'model is ' + self + '; it {spec_checks.NOT_AN_IMAGE_MODEL}'",
        ),
    ),
    (ImageGenerationSpec, "model"): (
        Rule(
            holds="!self.contains('trainer') && !self.contains('training')",
            message=f"model {spec_checks.NOT_A_TRAINER}",
            shows=f"'model is ' + self + '; it {spec_checks.NOT_A_TRAINER}'",
        ),
    ),
    (ImageGenerationSpec, "prompt"): (
        Rule(holds=f"self.matches(r'{spec_checks.NOT_BLANK}')", message=f"prompt {spec_checks.BLANK}"),
        # The error omits the value: a terminal would interpret it.
        Rule(
            holds=f"!self.matches(r'{spec_checks.REFUSED_CHARACTERS}')",
            message=f"prompt {spec_checks.NO_CONTROL_CHARACTERS}",
            secret=True,
        ),
    ),
    (ImageGenerationSpec, "loras"): (
        # Without the value: a URL may contain a signature.
        Rule(
            holds="self.all(a, !has(a.loraRef) || "
            "self.exists_one(b, has(b.loraRef) && b.loraRef.name == a.loraRef.name))",
            message=f"loras {spec_checks.DISTINCT}; a loraRef is there twice",
            secret=True,
        ),
        Rule(
            holds="self.all(a, !has(a.path) || self.exists_one(b, has(b.path) && b.path == a.path))",
            message=f"loras {spec_checks.DISTINCT}; a path is there twice",
            secret=True,
        ),
    ),
    (ImageGenerationSpec, ""): (
        Rule(
            holds=f"!has(self.loras) || size(self.loras) == 0 || !(self.model in {_WITHOUT_LORAS})",
            message=f"loras {spec_checks.NO_LORAS}",
            shows="'model is ' + self.model + ', which takes no LoRAs; with loras it must be one that does, "
            "such as flux-lora'",
            field="loras",
        ),
    ),
}
_RULES |= {
    (BudgetLimits, ""): (
        Rule(
            holds="has(self.day) || has(self.month) || has(self.total)",
            message="limits must have at least one of day, month and total",
        ),
    ),
}
_RULES |= {
    (LabelTerm, ""): (
        Rule(
            holds="(self.operator in ['In', 'NotIn']) == (has(self.values) && size(self.values) > 0)",
            message=VALUES_OF_TERMS,
        ),
    ),
}
_NAME_RULE = Rule(
    holds=f"self.metadata.name.size() <= {MAX_NAME}",
    # Without the value: the schema bounds no name, so an expression with it exceeds the cost budget.
    message=f"metadata.name must have at most {MAX_NAME} characters",
)
_CLASS = "(has({0}.spec.operatorClass) ? {0}.spec.operatorClass : '" + DEFAULT_CLASS + "')"
_MOVE_RULE = Rule(
    holds=f"{_CLASS.format('self')} == {_CLASS.format('oldSelf')} || !has(oldSelf.status) || !has(oldSelf.status.run) "
    f"|| (has(oldSelf.status.phase) && oldSelf.status.phase in {[str(phase) for phase in FINAL_PHASES]} "
    # Another installation has other stores: it would neither poll the request nor store its result.
    "&& !(has(oldSelf.status.run.requestOpen) && oldSelf.status.run.requestOpen))",
    message="spec.operatorClass must not change during a run: wait until status.phase is Completed or Failed, and "
    "status.run.requestOpen is not true",
)
_OWNER_RULE = Rule(
    holds="self.owner == oldSelf.owner",
    message="spec.owner must not change: delete the OperatorClass, and the installation that runs takes it",
)
_CLASS_NAME_RULE = Rule(
    holds="self.metadata.name.size() <= 63", message="metadata.name must have at most 63 characters"
)
# Keys of list items, for server-side apply and merge patches.
_LIST_KEYS: dict[type[BaseModel], str] = {ConditionStatus: "type", VersionStatus: "version"}

_STANDARD_FIELDS: Schema = {
    "apiVersion": {"type": "string", "description": "API version of the resource: contentgen.dev/v1alpha1."},
    "kind": {"type": "string", "description": "Kind of the resource."},
    "metadata": {"type": "object"},  # the API server allows no schema here
}
_COLUMNS: list[Schema] = [
    {"name": "Phase", "type": "string", "jsonPath": ".status.phase"},
    {"name": "Progress", "type": "integer", "jsonPath": ".status.progress"},
    {"name": "Stage", "type": "string", "jsonPath": ".status.stage"},
    # kubectl prints a column of type date as an age, and a future date as <invalid>.
    {"name": "ETA", "type": "string", "jsonPath": ".status.estimatedCompletionTime"},
    {"name": "Cost", "type": "string", "jsonPath": ".status.cost.display"},
    {"name": "Reason", "type": "string", "jsonPath": ".status.reason"},
    # With `kubectl get --output wide`; empty is the class default.
    {"name": "Class", "type": "string", "jsonPath": ".spec.operatorClass", "priority": 1},
    {"name": "Age", "type": "date", "jsonPath": ".metadata.creationTimestamp"},
]


_CLASS_COLUMNS: list[Schema] = [
    {"name": "Namespace", "type": "string", "jsonPath": ".spec.owner.namespace"},
    {"name": "Account", "type": "string", "jsonPath": ".spec.owner.serviceAccount"},
    {"name": "Release", "type": "string", "jsonPath": ".spec.owner.release"},
    {"name": "Age", "type": "date", "jsonPath": ".metadata.creationTimestamp"},
]


_BUDGET_COLUMNS: list[Schema] = [
    {"name": "Day", "type": "string", "jsonPath": ".spec.limits.day"},
    {"name": "Month", "type": "string", "jsonPath": ".spec.limits.month"},
    {"name": "Total", "type": "string", "jsonPath": ".spec.limits.total"},
    {"name": "Used", "type": "string", "jsonPath": ".status.display"},
    {"name": "Exceeded", "type": "string", "jsonPath": ".spec.onExceeded"},
    {"name": "Age", "type": "date", "jsonPath": ".metadata.creationTimestamp"},
]


_SELECTABLE = (".status.phase", ".status.reason", ".spec.userId")  # for --field-selector


class _Generator(GenerateJsonSchema):
    """pydantic's generator, with optional instead of nullable fields and the values of default factories."""

    def nullable_schema(self, schema: core_schema.NullableSchema) -> JsonSchemaValue:
        return self.generate_inner(schema["schema"])

    def default_schema(self, schema: core_schema.WithDefaultSchema) -> JsonSchemaValue:
        inner = dict(self.generate_inner(schema["schema"]))
        factory: Any = schema.get("default_factory")
        value = factory() if factory else schema.get("default")
        if isinstance(value, BaseModel):
            inner["default"] = {}  # the API server adds the defaults below it
        elif value not in (None, [], (), {}):
            inner["default"] = to_jsonable_python(value)
        return inner


def _inline_refs(schema: Schema, definitions: Schema) -> Schema:
    if "$ref" in schema:
        target = copy.deepcopy(definitions[schema["$ref"].rsplit("/", 1)[-1]])  # YAML writes a shared list as an alias
        schema = {**target, **{key: value for key, value in schema.items() if key != "$ref"}}
    inlined = dict(schema)
    if "properties" in schema:
        inlined["properties"] = {name: _inline_refs(field, definitions) for name, field in schema["properties"].items()}
    for below in ("items", "additionalProperties"):
        if isinstance(schema.get(below), dict):
            inlined[below] = _inline_refs(schema[below], definitions)
    return inlined


def _structural(schema: Schema) -> Schema:
    """The schema reduced to what a structural schema may contain."""
    result = {key: value for key, value in schema.items() if key not in ("title", "additionalProperties")}
    for exclusive, bound in (("exclusiveMinimum", "minimum"), ("exclusiveMaximum", "maximum")):
        if exclusive in schema:
            result |= {bound: schema[exclusive], exclusive: True}
    if "properties" in schema:
        result["properties"] = {name: _structural(field) for name, field in schema["properties"].items()}
    if "items" in schema:
        result |= {"items": _structural(schema["items"]), "x-kubernetes-list-type": "atomic"}
    values = schema.get("additionalProperties")
    if isinstance(values, dict):
        result["additionalProperties"] = _structural(values)
    elif values is True:
        result["x-kubernetes-preserve-unknown-fields"] = True
    return result


def _with_rules(definitions: Schema) -> Schema:
    """The definitions with the CEL rules of their models and fields."""
    marked = {
        name: {**schema, "properties": dict(schema.get("properties", {}))} for name, schema in definitions.items()
    }
    for (model, field), rules in _RULES.items():
        schema = marked.get(model.__name__)
        if schema is None:
            continue
        validations = {"x-kubernetes-validations": [rule.as_schema() for rule in rules]}
        if field:
            schema["properties"][field] = {**schema["properties"][field], **validations}
        else:
            schema.update(validations)
    return {name: schema if schema["properties"] else definitions[name] for name, schema in marked.items()}


def model_schema(model: type[BaseModel]) -> Schema:
    """Structural schema of a model."""
    generated = model.model_json_schema(schema_generator=_Generator)
    definitions = generated.pop("$defs", {})
    definitions = _with_rules({**definitions, model.__name__: generated})
    return _structural(_inline_refs(definitions[model.__name__], definitions))


def _bounds_of(schema: Schema) -> str:
    for smallest, largest, what in (
        ("minimum", "maximum", ""),
        ("minLength", "maxLength", " characters"),
        ("minItems", "maxItems", " items"),
    ):
        if smallest in schema and largest in schema:
            return f" From {schema[smallest]} to {schema[largest]}{what}."
        if largest in schema:
            return f" At most {schema[largest]}{what}."
    return ""


def describe_bounds(schema: Schema) -> Schema:
    """The schema with bounds and defaults in the descriptions, because `kubectl explain` shows neither."""
    result = dict(schema)
    if schema["type"] not in ("object", "boolean"):
        result["description"] = f"{schema['description']}{_bounds_of(schema)}"
    if schema.get("default") not in (None, {}, ""):
        result["description"] = f"{result['description']} Default: {json.dumps(schema['default'])}."
    if "properties" in schema:
        result["properties"] = {name: describe_bounds(field) for name, field in schema["properties"].items()}
    if schema.get("items", {}).get("type") == "object":
        result["items"] = describe_bounds(schema["items"])
    return result


def _pattern_rules(pattern: str) -> tuple[Rule, ...]:
    """A pattern as a rule. The error omits the value of a URL that may contain a password or a signature."""
    matches, words = f"self.matches(r'{pattern}')", patterns.EXPECTATIONS[pattern]
    if pattern not in (patterns.SOURCE_URL, patterns.WEB_URL):
        return (Rule(holds=matches, message=words),)
    suspect = [f"self.contains('{mark}')" for mark in "@?#"]
    credentials = f"{words}, and must not contain a user name or password; use a public or a signed URL"
    return (
        Rule(holds=f"!({' || '.join(suspect)}) || {matches}", message=credentials, secret=True),
        Rule(holds=" || ".join([*suspect, matches]), message=words),
    )


def _patterns_as_rules(schema: Schema) -> Schema:
    """The schema with rules in place of patterns, whose errors do not explain themselves."""
    result = dict(schema)
    if "pattern" in schema:
        rules = [rule.as_schema() for rule in _pattern_rules(result.pop("pattern"))]
        result["x-kubernetes-validations"] = [*schema.get("x-kubernetes-validations", ()), *rules]
    if "properties" in schema:
        result["properties"] = {name: _patterns_as_rules(field) for name, field in schema["properties"].items()}
    if "items" in schema:
        result["items"] = _patterns_as_rules(schema["items"])
    return result


def _status_schema() -> Schema:
    schema = _lenient(model_schema(ResourceStatus))
    return _observed(_listed_by_key(schema, conditions=ConditionStatus, versions=VersionStatus))


def _observed(schema: Schema) -> Schema:
    """The schema, with a default for kstatus: a new resource must not count as reconciled."""
    schema["properties"]["observedGeneration"]["default"] = -1
    schema["default"] = {"observedGeneration": -1}
    return schema


def _listed_by_key(schema: Schema, **models: type[BaseModel]) -> Schema:
    """The schema, with its lists of these models as maps for server-side apply."""
    for name, model in models.items():
        key = _LIST_KEYS[model]
        listed = schema["properties"][name]
        listed |= {"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": [key]}
        listed["items"]["required"] = [key]
    return schema


def _lenient(schema: Schema) -> Schema:
    """The schema without required fields and defaults, so that operators of other versions can write a status."""
    result = {key: value for key, value in schema.items() if key not in ("required", "default")}
    if "properties" in schema:
        result["properties"] = {name: _lenient(field) for name, field in schema["properties"].items()}
    if "items" in schema:
        result["items"] = _lenient(schema["items"])
    return result


def resource_schema(kind: Kind) -> Schema:
    """The schema of a resource of this kind."""
    spec = describe_bounds(_patterns_as_rules(model_schema(SPECS[kind])))
    return {
        "type": "object",
        "description": spec["description"],
        "required": ["spec"],
        "properties": {
            **_STANDARD_FIELDS,
            "spec": {
                **spec,
                "description": "Desired result. A change of a field that determines the result starts a new run.",
            },
            "status": _status_schema(),
        },
        "x-kubernetes-validations": [_NAME_RULE.as_schema(), _MOVE_RULE.as_schema()],
    }


def crd(kind: Kind) -> dict[str, Any]:
    """The CustomResourceDefinition of a kind, ready for the API server."""
    names = {
        "kind": kind.value,
        "listKind": f"{kind.value}List",
        "plural": kind.plural,
        "singular": kind.value.lower(),
        "shortNames": [kind.short_name],
        "categories": [CATEGORY],
    }
    version = {
        "schema": {"openAPIV3Schema": resource_schema(kind)},
        "subresources": {"status": {}},
        "additionalPrinterColumns": [dict(column) for column in _COLUMNS],
        "selectableFields": [{"jsonPath": each} for each in _SELECTABLE],
    }
    return _definition("Namespaced", names, version)


def operator_class_schema() -> Schema:
    """The schema of an OperatorClass."""
    spec = _patterns_as_rules(model_schema(OperatorClassSpec))
    return {
        "type": "object",
        "description": spec["description"],
        "required": ["spec"],
        "properties": {
            **_STANDARD_FIELDS,
            "spec": {
                **spec,
                "description": "The installation that serves the class.",
                "x-kubernetes-validations": [_OWNER_RULE.as_schema()],
            },
        },
        "x-kubernetes-validations": [_CLASS_NAME_RULE.as_schema()],
    }


def operator_class_crd() -> dict[str, Any]:
    """The CustomResourceDefinition of OperatorClass, ready for the API server."""
    names = {
        "kind": CLASS_KIND,
        "listKind": f"{CLASS_KIND}List",
        "plural": CLASS_PLURAL,
        "singular": CLASS_KIND.lower(),
    }
    version = {
        "schema": {"openAPIV3Schema": operator_class_schema()},
        "additionalPrinterColumns": [dict(column) for column in _CLASS_COLUMNS],
    }
    return _definition("Cluster", names, version)


def content_budget_schema() -> Schema:
    """The schema of a ContentBudget."""
    spec = describe_bounds(_patterns_as_rules(model_schema(ContentBudgetSpec)))
    return {
        "type": "object",
        "description": spec["description"],
        "required": ["spec"],
        "properties": {
            **_STANDARD_FIELDS,
            "spec": {**spec, "description": "Limits, and the runs that count."},
            "status": _observed(_listed_by_key(_lenient(model_schema(BudgetStatus)), conditions=ConditionStatus)),
        },
        "x-kubernetes-validations": [_CLASS_NAME_RULE.as_schema()],
    }


def content_budget_crd() -> dict[str, Any]:
    """The CustomResourceDefinition of ContentBudget, ready for the API server."""
    names = {
        "kind": BUDGET_KIND,
        "listKind": f"{BUDGET_KIND}List",
        "plural": BUDGET_PLURAL,
        "singular": BUDGET_KIND.lower(),
        "shortNames": [BUDGET_SHORT_NAME],
    }
    version = {
        "schema": {"openAPIV3Schema": content_budget_schema()},
        "subresources": {"status": {}},
        "additionalPrinterColumns": [dict(column) for column in _BUDGET_COLUMNS],
    }
    return _definition("Cluster", names, version)


def _definition(scope: str, names: dict[str, Any], version: dict[str, Any]) -> dict[str, Any]:
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{names['plural']}.{GROUP}"},
        "spec": {
            "group": GROUP,
            "scope": scope,
            "names": names,
            "versions": [{"name": VERSION, "served": True, "storage": True, **version}],
        },
    }
