"""Attributes of reals (happy, male, wearing a hat): a classifier, and the choice of those that a GAN should learn."""

from fakedetect.attributes.model import AttributeModel
from fakedetect.attributes.select import select
from fakedetect.attributes.settings import AttributeSettings
from fakedetect.attributes.train import train

__all__ = ["AttributeModel", "AttributeSettings", "select", "train"]
