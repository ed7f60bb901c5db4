"""The version of this distribution, as nodes and clients tell it to the platform."""

VERSION = "0.1.0"
