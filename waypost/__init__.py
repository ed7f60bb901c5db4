"""The core of Waypost: what things are and what may happen to them.

No framework and no driver is imported below this package; what it needs from outside are Protocols (`port` modules).
"""

__version__ = "0.1.0"
