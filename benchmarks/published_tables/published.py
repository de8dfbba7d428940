"""Errors that others published for the mlearn sets.

Mean absolute errors on the test sets: energy in meV/atom, forces in eV/A. Source:
Y. Zuo et al., J. Phys. Chem. A 124, 731 (2020), in the numbers that the benchmark of
ACEpotentials.jl on these sets lists (W. C. Witt et al., J. Chem. Phys. 159, 164101,
2023).
"""

PUBLISHED: dict[str, dict[str, tuple[float, float]]] = {
    "GAP": {
        "Ni": (0.42, 0.02),
        "Cu": (0.46, 0.01),
        "Li": (0.49, 0.01),
        "Mo": (2.24, 0.09),
        "Si": (2.91, 0.07),
        "Ge": (2.06, 0.05),
    },
    "MTP": {
        "Ni": (0.48, 0.01),
        "Cu": (0.41, 0.01),
        "Li": (0.49, 0.01),
        "Mo": (2.83, 0.09),
        "Si": (2.21, 0.06),
        "Ge": (1.79, 0.05),
    },
}
