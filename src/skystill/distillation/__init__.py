"""Distillation: the Distiller, the LTD method, its schedule."""
