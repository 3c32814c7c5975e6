"""The kinds of model that can be trained, by the name that a recipe gives in ``model.architecture``."""

from custom_modules.architecture.danube import DANUBE
from custom_modules.architecture.interface import Architecture
from custom_modules.architecture.lokilm import LOKILM

ARCHITECTURES: dict[str, Architecture] = {
    "danube": DANUBE,
    "lokilm": LOKILM,
}
