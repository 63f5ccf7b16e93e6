"""The families of models, by the name that checkpoints and training states carry."""

from __future__ import annotations

from hvae_mnn.errors import InputError
from hvae_mnn.models.hsrvae import HSRVAE
from hvae_mnn.models.recurrent import RecurrentModel
from hvae_mnn.names import unknown_name

FAMILIES: dict[str, type[RecurrentModel]] = {model.family: model for model in (HSRVAE,)}
DEFAULT_FAMILY = HSRVAE.family
"""The family of files without the key: there was no other when they were written."""


def model_class(family: object) -> type[RecurrentModel]:
    """The class of a family. Raises `InputError` for an unknown name."""
    if not isinstance(family, str) or family not in FAMILIES:
        raise InputError(unknown_name("model family", family, FAMILIES))
    return FAMILIES[family]
