"""Looks a distillation over before it starts: data, weights, the pair, the teacher's eyes, time, memory and disk."""

from skystill.doctor.examine import check_methods, examine
from skystill.doctor.finding import Finding
from skystill.doctor.patient import Patient

__all__ = ["Finding", "Patient", "check_methods", "examine"]
