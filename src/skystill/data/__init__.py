"""Images and truth: formats, data sets, augmentation, synthetic scenes."""
