"""Outputs of codes as far as they are read, written for a given structure and label."""

import numpy as np
from ase.units import GPa

from mfal.units import BOHR, HARTREE

RYDBERG = HARTREE / 2
KBAR = 0.1 * GPa
VASP_ORDER = (0, 1, 2, 5, 3, 4)  # xx yy zz xy yz zx in OUTCAR


def orca(atoms, energy, forces, *, charge=0, multiplicity=1, converged=True):
    rows = [
        f"  {s:2}  {x:12.6f}  {y:12.6f}  {z:12.6f}"
        for s, (x, y, z) in zip(atoms.symbols, atoms.positions, strict=True)
    ]
    gradient = [
        f"{i + 1:4}   {s:2}  :  " + "  ".join(f"{g:14.9f}" for g in row)
        for i, (s, row) in enumerate(
            zip(atoms.symbols, -forces * BOHR / HARTREE, strict=True)
        )
    ]
    end = (
        "SUCCESS\n  *           SCF CONVERGED AFTER  12 CYCLES          *"
        if converged
        else "ERROR\n  *     SCF NOT CONVERGED AFTER 125 CYCLES      *"
    )
    return "\n".join(
        [
            "          *****************",
            "          * O   R   C   A *",
            "          *****************",
            "---------------------------------",
            "CARTESIAN COORDINATES (ANGSTROEM)",
            "---------------------------------",
            *rows,
            "",
            f"Number of atoms                             ...   {len(atoms)}",
            f" Total Charge           Charge          ....    {charge}",
            f" Multiplicity           Mult            ....    {multiplicity}",
            end,
            "------------------",
            "CARTESIAN GRADIENT",
            "------------------",
            "",
            *gradient,
            "",
            f"FINAL SINGLE POINT ENERGY   {energy / HARTREE:20.12f}",
            "                 ****ORCA TERMINATED NORMALLY****",
            "",
        ]
    )


def espresso(atoms, energy, forces, stress, *, converged=True, box=None):
    alat = 10.0  # bohr
    cell = (np.asarray(atoms.cell) if box is None else np.eye(3) * box) / BOHR / alat
    kinds = sorted(set(atoms.symbols))
    sites = [
        f"{i + 1:10}           {s:3} tau({i + 1:4}) = ("
        + "".join(f"{x:12.7f}" for x in row)
        + "  )"
        for i, (s, row) in enumerate(
            zip(atoms.symbols, atoms.positions / BOHR / alat, strict=True)
        )
    ]
    pulls = [
        f"     atom {i + 1:4} type {kinds.index(s) + 1:2}   force = "
        + "".join(f"{f:14.8f}" for f in row)
        for i, (s, row) in enumerate(
            zip(atoms.symbols, forces * BOHR / RYDBERG, strict=True)
        )
    ]
    xx, yy, zz, yz, xz, xy = -stress / (RYDBERG / BOHR**3)
    matrix = [(xx, xy, xz), (xy, yy, yz), (xz, yz, zz)]
    done = "has been achieved in  11" if converged else "NOT achieved after 100"
    return "\n".join(
        [
            "     Program PWSCF v.7.2 starts on 19May2024 at  7:48:12",
            f"     number of atoms/cell      = {len(atoms):12}",
            f"     number of atomic types    = {len(kinds):12}",
            f"     celldm(1)=  {alat:9.6f}  celldm(2)=   0.000000  celldm(3)=   0.000000",
            "     crystal axes: (cart. coord. in units of alat)",
            *(
                f"               a({i + 1}) = ("
                + "".join(f"{x:11.6f}" for x in v)
                + " )"
                for i, v in enumerate(cell)
            ),
            "     site n.     atom                  positions (alat units)",
            *sites,
            "",
            f"!    total energy              = {energy / RYDBERG:18.8f} Ry",
            f"     convergence {done} iterations",
            "     Forces acting on atoms (cartesian axes, Ry/au):",
            "",
            *pulls,
            "",
            "          total   stress  (Ry/bohr**3)                   (kbar)     P=  1.0",
            *("".join(f"{x:14.8f}" for x in row) + "    0.0 0.0 0.0" for row in matrix),
            "",
            "   JOB DONE.",
            "",
        ]
    )


def vasprun(atoms, energy, forces, stress, *, steps=5, nelm=60):
    def rows(values):
        return "".join(f"<v>{' '.join(f'{x:.10f}' for x in v)}</v>" for v in values)

    xx, yy, zz, yz, xz, xy = -stress / KBAR
    matrix = rows([(xx, xy, xz), (xy, yy, yz), (xz, yz, zz)])
    structure = (
        f'<crystal><varray name="basis">{rows(np.asarray(atoms.cell))}</varray></crystal>'
        f'<varray name="positions">{rows(atoms.get_scaled_positions())}</varray>'
    )
    species = "".join(f"<rc><c>{s}</c><c>1</c></rc>" for s in atoms.symbols)
    energies = (
        f'<energy><i name="e_fr_energy">{energy:.8f}</i>'
        f'<i name="e_wo_entrp">{energy + 2:.8f}</i>'
        f'<i name="e_0_energy">{energy + 1:.8f}</i></energy>'
    )
    return (
        '<?xml version="1.0" encoding="ISO-8859-1"?><modeling>'
        '<kpoints><varray name="kpointlist"><v>0 0 0</v></varray>'
        '<varray name="weights"><v>1</v></varray></kpoints>'
        f'<parameters><i type="int" name="NELM">{nelm}</i></parameters>'
        f'<atominfo><array name="atoms"><set>{species}</set></array></atominfo>'
        f'<structure name="initialpos">{structure}</structure>'
        f"<calculation>{f'<scstep>{energies}</scstep>' * steps}"
        f"<structure>{structure}</structure>"
        f'<varray name="forces">{rows(forces)}</varray>'
        f'<varray name="stress">{matrix}</varray>{energies}</calculation>'
        "</modeling>\n"
    )


def outcar(atoms, energy, forces, stress, *, converged=True):
    blocks = list(dict.fromkeys(atoms.symbols))
    numbers = [sum(s == b for s in atoms.symbols) for b in blocks]
    loop = "aborting loop because EDIFF is reached"
    if not converged:
        loop = "aborting loop EDIFF was not reached (unconverged)"
    values = " ".join(f"{x:11.5f}" for x in (-stress / KBAR)[list(VASP_ORDER)])
    return "\n".join(
        [
            " vasp.6.4.1 05Apr23 complex",
            *(f" POTCAR:    PAW_PBE {b} 08Apr2002" for b in blocks * 2),
            "   ISPIN  =      1    spin polarized calculation?",
            f"   ions per type = {' '.join(map(str, numbers))}",
            f"--------- Iteration      1(   1)  {'-' * 30}",
            f"------------------------ {loop} ----------------",
            f"  in kB  {values}",
            "      direct lattice vectors                 reciprocal lattice vectors",
            *(
                "".join(f"{x:14.9f}" for x in v) + "   0.1 0.1 0.1"
                for v in np.asarray(atoms.cell)
            ),
            " POSITION                                       TOTAL-FORCE (eV/Angst)",
            " " + "-" * 83,
            *(
                "".join(f"{x:13.5f}" for x in r)
                + "  "
                + "".join(f"{x:14.6f}" for x in f)
                for r, f in zip(atoms.positions, forces, strict=True)
            ),
            " " + "-" * 83,
            "  FREE ENERGIE OF THE ION-ELECTRON SYSTEM (eV)",
            "  ---------------------------------------------------",
            f"  free  energy   TOTEN  = {energy:18.8f} eV",
            "",
            f"  energy  without entropy= {energy + 2:18.8f}  energy(sigma->0) ="
            f" {energy + 1:18.8f}",
            "",
            " General timing and accounting informations for this job:",
            "",
        ]
    )
