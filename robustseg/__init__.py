"""How segmentation networks fail when the camera image degrades.

Cityscapes-C from Cityscapes, SegFormer and DeepLabv3+ trained and evaluated on it, Table 5 of the
SegFormer paper and more, and effective receptive fields.
"""

__all__ = ["__version__"]

__version__ = "0.1.0"
