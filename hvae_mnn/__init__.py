"""Circuit-level SPICE co-simulation of recurrent text models on memristor crossbars."""

__version__ = "0.1.0"
