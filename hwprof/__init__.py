"""hwprof: how fast will this network run on that device?"""

__version__ = "0.1.0"
