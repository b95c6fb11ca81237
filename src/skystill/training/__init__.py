"""Training loops on PyTorch Lightning."""
