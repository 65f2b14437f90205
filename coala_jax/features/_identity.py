"""By what features are known: the backbone and all that turns text into a vector with it."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from coala_jax.features._errors import FeatureError

if TYPE_CHECKING:  # reading features needs no model
    from coala_jax.backbones import BackboneIdentity

# The hidden states that are pooled unless others are named: Hugging Face's ``last_hidden_state``.
LAYER = "last"
# Fields of an identity that are for people.
DECIDE_NOTHING = ("backbone", "name", "license")
# Characters of a value that a message shows.
SHOWN = 80


def layer_name(layers: Sequence[int]) -> str:
    """Layers as an identity records them: ``last``, or numbers such as ``-1,-8``."""
    return LAYER if tuple(layers) == (-1,) else ",".join(map(str, layers))


def layer_numbers(name: str) -> tuple[int, ...]:
    """The layers of a name that `layer_name` made.

    Raises:
        FeatureError: another text.
    """
    if name == LAYER:
        return (-1,)
    try:
        return tuple(int(part) for part in name.split(","))
    except ValueError:
        raise FeatureError(f"layer={name!r} must be {LAYER!r} or numbers such as '-1,-8'") from None


class FeatureIdentity(NamedTuple):
    """All that decides which vector a prompt and a response become.

    Attributes:
        backbone: the checkpoint folder's name; for people, it decides nothing.
        model_type: the family.
        config_sha256: hash of the model's configuration.
        weights_sha256: hash of its weights.
        tokenizer_sha256: hash of its tokenizer.
        prompt_template: text with ``{prompt}``.
        response_template: text with ``{response}``.
        end_token: closes every response.
        pooling: names of poolings, joined by ``+``.
        layer: whose hidden states are pooled, from `layer_name`.
        query: of attention pooling, as base64 of float32; empty where there is none.
        chat_template: by what conversations became prompts, `coala_jax.data.ChatFormat.name`; empty
            where the prompts were text.
        compute_dtype: type of the model's weights and computation.
        text_rule: how texts are read, from `coala_jax.features._tokens`; empty before there was
            one, when white space and control tokens of a text counted.
        license: of the backbone, as `coala_jax.backbones.BackboneIdentity` has it; for people, it
            decides nothing.
    """

    backbone: str
    model_type: str
    config_sha256: str
    weights_sha256: str
    tokenizer_sha256: str
    prompt_template: str
    response_template: str
    end_token: str
    pooling: str
    layer: str = LAYER
    query: str = ""
    chat_template: str = ""
    compute_dtype: str = "float32"
    text_rule: str = ""
    license: str = ""

    @classmethod
    def from_dict(cls, fields: Mapping[str, Any]) -> "FeatureIdentity":
        """The identity that a manifest or a head recorded by ``_asdict()``.

        Raises:
            FeatureError: a field is missing or is not a string.
        """
        # What was recorded before these fields were there names none.
        known = {**cls._field_defaults, **fields}
        lost = [name for name in cls._fields if not isinstance(known.get(name), str)]
        if lost:
            raise FeatureError(f"feature identity: no text for {', '.join(lost)}")
        return cls(**{name: known[name] for name in cls._fields})


def require_same_backbone(
    expected: "FeatureIdentity | BackboneIdentity", found: "FeatureIdentity | BackboneIdentity"
) -> None:
    """Raise where two identities would give different features for the same text.

    Args:
        expected: what a head or a store was made with.
        found: what it is about to be used with. Where one of the two is a backbone's identity, the
            fields that both have are compared.

    Raises:
        FeatureError: names every field that differs, with both values.
    """
    left, right = expected._asdict(), found._asdict()
    differing = [
        f"{name} {_short(left[name])}, found {_short(right[name])}"
        for name in left
        if name not in DECIDE_NOTHING and name in right and left[name] != right[name]
    ]
    if differing:
        raise FeatureError(
            f"another backbone or other settings: made with {_name(left)!r}, used with "
            f"{_name(right)!r}; expected {'; expected '.join(differing)}"
        )


def _short(text: str) -> str:
    """A value for a message; a query is thousands of characters long."""
    return repr(text if len(text) <= SHOWN else f"{text[:SHOWN]}...")


def _name(fields: Mapping[str, str]) -> str:
    return fields.get("backbone", fields.get("name", ""))
