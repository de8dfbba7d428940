"""A campaign: ask, label, tell, learn, until the budget is spent.

The store is the truth. Every choice depends only on the labels of earlier steps, the
configuration and its seed, so a campaign that was killed makes the same choices when it
is run again as one that was not.
"""

import json
import logging
import math
import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Executor
from contextlib import contextmanager
from functools import cached_property, partial
from pathlib import Path
from threading import Event
from typing import Any

from mfal.campaign import choosing, planning
from mfal.campaign.asynchronous import Stream
from mfal.campaign.config import CampaignConfig, ConfigError
from mfal.campaign.document import results_document, system_of
from mfal.campaign.engines import Engine, ExactEngine, Pool, SparseEngine
from mfal.campaign.exploring import due, explored
from mfal.campaign.finishing import Shadow, compared, final_evaluation
from mfal.campaign.geometries import draw_pool, pool_from_file
from mfal.campaign.judging import judgements
from mfal.campaign.labelling import GRACE, Labelling, Paused, label_step
from mfal.campaign.learning import LEARNING, HeldOut, held_levels, learn, recalibrated
from mfal.campaign.ledger import Ledger
from mfal.campaign.lock import CampaignLock
from mfal.campaign.notices import notices
from mfal.campaign.reader import Books
from mfal.campaign.records import (
    BUDGETED,
    OPEN,
    LabelRequest,
    StoredLabel,
    StoredStep,
)
from mfal.campaign.signals import on_signals
from mfal.campaign.stopping import Verdict
from mfal.campaign.stopping_rule import state_of, stopping_rule
from mfal.campaign.store import CampaignStore
from mfal.data import LabelledDataset, canonical
from mfal.data.artefact import ArtefactError
from mfal.data.files import write_text
from mfal.descriptors import find_group
from mfal.models.runaway import fit_or_keep, vector_of
from mfal.models.storage import Potential, load_potential, save_potential
from mfal.oracles import LabelPool, Leases, validate_specification

_logger = logging.getLogger(__name__)

Asked = tuple[list[LabelRequest], dict[str, Any]]
"""Labels that are asked for, and what is to be said of the choice."""

EVIDENCE_ROWS = 1500
"""Rows that hyperparameters are fitted to at each step; every label is conditioned on."""


class Campaign:
    """One campaign in a directory; `run` starts or resumes it.

    `executor` labels (by default `config.execution.workers` processes of one thread);
    `progress` is told in words what goes on.

    Raises:
        ConfigError: a level that cannot be run, or a directory that holds another
            campaign.
        ValueError: a directory that cannot be written.
        CampaignLocked: another process drives this campaign.
    """

    def __init__(
        self,
        config: CampaignConfig,
        directory: str | os.PathLike[str],
        *,
        executor: LabelPool | Executor | None = None,
        progress: Callable[[str], None] | None = None,
    ) -> None:
        self.config = config
        self.directory = Path(directory)
        self.fidelities = {f.name: f for f in config.fidelities()}
        self.progress = progress or (lambda text: None)
        self._executor = executor
        self._leases = Leases(GRACE * config.execution.timeout)
        self._stop = Event()
        self._number = 1
        self._known: tuple[int, Potential] | None = None
        self._ranked: Pool | None = None
        self._shadow = Shadow()

    def run(self) -> dict[str, Any]:
        """Runs to the end and returns the results (see `mfal.campaign.document`).

        Raises:
            Paused: on SIGTERM or SIGINT, with everything finished in the store.
            TooManyFailures: see `mfal.campaign.labelling`.
            StoreWriteError: the disk is full; the last good state stands.
        """
        for fidelity in self.fidelities.values():
            validate_specification(
                fidelity,
                set(self.config.system.atoms().get_chemical_symbols()),
                self.config.allowed_modules,
            )
        if self.config.pool.sampler == "file":
            pool_from_file(self.config)  # refused before anything is written
        with CampaignLock(self.directory), self._opened(), on_signals(self.stop):
            self._draw_pool()
            self._step("pilot", lambda n: _only(choosing.pilot_requests(*self._pool)))
            if self.config.validation:
                self._step(
                    "validation",
                    lambda n: _only(
                        choosing.heldout_requests(self._levels(), self._pool[1])
                    ),
                )
            for level in self.plan["sweep"]:
                if level in self._levels():
                    self._step("sweep", partial(self._sweep, level))
            if self.config.execution.asynchronous:
                self._acquire_without_waiting()
            while self._step("acquired", self._ask):
                pass
            self._finish()
            return self._write_results()

    def _tell(self, sentence: str) -> None:
        _logger.info(sentence)
        self.progress(sentence)

    def stop(self) -> None:
        """Asks the campaign to pause as soon as it can; callable from any thread."""
        self._stop.set()

    def _draw_pool(self) -> None:
        if self.store.structures():
            return
        structures = draw_pool(self.config, self.progress, self._drawn)
        roles = choosing.assign_roles(self.config, len(structures))
        atoms = [canonical(a) for a in structures]
        self.store.add_structures(list(zip(atoms, roles, strict=True)))

    def _go_on(self, otherwise: str) -> None:
        if self._stop.is_set():
            raise Paused(otherwise)

    def _drawn(self, n: int) -> None:
        self._go_on("stopped while the pool was drawn: it is drawn anew")
        self.progress(f"drawing the pool: {n} of {self.config.pool.size} geometries")

    @property
    def _pool(self) -> tuple[CampaignConfig, list]:
        return self.config, self.store.structures()

    def _step(self, phase: str, ask: Callable[[int], Asked]) -> StoredStep | None:
        """One step: asked once, labelled, learned from; what is in the store stays."""
        number = self._number
        stored = {s.step: s for s in self.store.steps()}
        if number not in stored:
            self.progress(f"step {number}: choosing ({phase})")
            requests, info = ask(number)
            if not requests:
                return None
            self.store.open_step(number, phase, info, requests)
        elif stored[number].phase != phase:
            return None  # resumed after this phase had ended
        if number not in stored or stored[number].state == "open":
            label_step(
                self.store,
                number,
                self.fidelities,
                self.config.execution,
                self._labels,
                self.directory / "spool",
                self._stop,
                self.progress,
                within_budget=partial(self._within_budget, phase),
                allowed_modules=self.config.allowed_modules,
                leases=self._leases,
            )
            self._close(number, phase)
        self._number += 1
        return next(s for s in self.store.steps() if s.step == number)

    def _close(self, number: int, phase: str) -> None:
        """Learns from a step, and compares if labels take much longer than that."""
        begin = time.perf_counter()
        self.store.finish_step(number, self._learn(number, phase))
        fit = time.perf_counter() - begin
        labelled = self._write_results()["execution"]["wall_seconds"]
        comparable = self.config.comparison and phase in ("sweep", "acquired")
        if comparable and self._shadow.due(labelled, fit):
            self._compare_on_the_way(number)
            self._write_results()

    def _compare_on_the_way(self, number: int) -> None:
        """Compares; if that fails, it is told and the campaign goes on."""
        begin = time.perf_counter()
        try:
            model, place = self._model(number)
            self._compare(number, model, self._heldout(model.levels), place)
        except Paused:
            return  # who asked for the end is heard at the next label
        except Exception as error:
            self.store.log_event("not_compared", f"step {number}: {error!r}"[:500])
        self._shadow.took(time.perf_counter() - begin)

    def _compare(
        self,
        number: int,
        model: Potential,
        heldout: HeldOut | None,
        place: Mapping[int, int],
    ) -> None:
        """Keeps the comparison with random and single-level labels after a step."""
        if self.store.meta("compared_after") == str(number):
            return
        rows: list[dict[str, Any]] = []
        if self.config.comparison and heldout is not None and heldout.structures:
            self.progress("comparing with random and single-level labels")
            rows = compared(
                self.store,
                model,
                heldout,
                place,
                seed=self.config.seed,
                engine=self._engine,
                between=partial(self._go_on, "stopped while comparing"),
            )
        with self.store.batch():
            self.store.set_meta("comparison", json.dumps(rows))
            self.store.set_meta("compared_after", str(number))

    def _acquire_without_waiting(self) -> None:
        """The acquired steps, overlapping: see `mfal.campaign.asynchronous`."""

        def ask(number: int) -> Asked:
            self._number = number
            return self._ask(number)

        def learn(number: int) -> None:
            self._number = number
            self._close(number, "acquired")

        labelling = Labelling(
            self.store,
            self.fidelities,
            self.config.execution,
            self.directory / "spool",
            self.progress,
            partial(self._within_budget, "acquired"),
            self.config.allowed_modules,
        )
        Stream(labelling, ask, learn).run(self._labels, self._stop, self._leases)
        self._number = 1 + max(s.step for s in self.store.steps())

    def _plan(self, number: int) -> None:
        """Settles the levels and the budget, once, on the labels of the pilot."""
        if self.store.meta("plan") is not None:
            return
        pilot, _ = self.store.dataset(
            tuple(self.fidelities.values()), purposes=("pilot",)
        )
        ledger = Ledger(self.config, self.store)
        costs = ledger.estimates(up_to_step=number)
        plan = planning.plan_levels(
            pilot, costs, self.config.acquisition.low_level_first_above
        )
        plan["reserve"] = ledger.reserve(costs, plan["levels"])
        plan["budget"] = ledger.total(costs) - plan["reserve"]
        if plan["reserve"] and plan["budget"] < ledger.spent():
            raise ConfigError(
                f"budget: {plan['reserve']:.4g} {ledger.unit} reserved for validation "
                f"leave {plan['budget']:.4g}, the pilot took {ledger.spent():.4g}: raise "
                "the budget, or lower validation"
            )
        self.store.set_meta("plan", json.dumps(plan))
        for sentence in plan["sentences"]:
            self._tell(sentence)

    @property
    def plan(self) -> dict[str, Any]:
        """The levels that are bought and the budget, settled after the pilot."""
        return json.loads(self.store.meta("plan") or "{}")

    def _asked(self) -> set[tuple[int, str]]:
        return {(label.structure_id, label.level) for label in self.store.entries()}

    def _sweep(self, level: str, number: int) -> Asked:
        requests = choosing.sweep_requests(
            self.store.structures(), level, self._asked()
        )
        ledger = Ledger(self.config, self.store)
        cost = ledger.estimates()[level].mean
        affordable = int((self.plan["budget"] - ledger.spent()) / cost)
        return _only(requests[: max(affordable, 0)])

    def _ask(self, number: int) -> Asked:
        """The next batch, given the labels of the last model and all asked for since."""
        ledger = Ledger(self.config, self.store)
        steps = self.store.steps()
        learned = max(s.step for s in steps if s.state == "finished")
        costs = ledger.estimates(up_to_step=learned)
        labels = self.store.entries()
        since = [x for x in labels if x.step > learned]
        left = self.plan["budget"] - ledger.spent()
        left -= math.fsum(costs[x.level].mean for x in since if x.state in OPEN)

        def verdict(levels: Iterable[str]) -> Verdict:
            cheapest = min((costs[level].mean for level in levels), default=None)
            state = state_of(steps, labels, left=left, cheapest=cheapest)
            return stopping_rule(self.config.stopping)(state)

        info: dict[str, Any] = {}
        if due(self.config, steps, number) and not verdict(self._levels()).met:
            info["explored"] = self._explored(number, learned)
        missing = choosing.missing_labels(
            self.store.structures(), self._levels(), self._asked()
        )
        found = verdict(level for _, level in missing)
        if found.met:
            self.store.set_meta("stopping_reason", found.reason)
            return _only([])
        if self.config.stopping:
            self._tell(f"step {number}: it goes on, since {found.reason}")
        affordable = [(i, level) for i, level in missing if costs[level].mean <= left]
        model, positions = self._model(learned)
        pending = [
            (x.structure_id, x.level)
            for x in since
            if x.state in (*OPEN, "done") and x.level in model.levels
        ]
        choice = choosing.best_requests(
            self.config,
            model,
            self.store.structures(),
            positions,
            affordable,
            costs,
            left,
            number,
            engine=self._engine,
            pending=pending,
            reuse=self._ranked,
        )
        self._ranked = choice.pool
        if pending:
            info |= {"learned": learned, "pending": len(pending)}
        return choice.requests, info | {"batch": choice.report}

    def _explored(self, number: int, learned: int) -> dict[str, Any]:
        """See `mfal.campaign.exploring`; with the model of the record, to the last bit."""

        def rebuilt() -> Potential:
            self.progress(f"step {number}: exploring")
            self._known = (learned, self._rebuilt(learned))
            return self._known[1]

        return explored(
            self.config,
            self.store,
            number,
            rebuilt,
            tell=self._tell,
            between=partial(self._go_on, "stopped while exploring: it is done anew"),
        )

    def _within_budget(self, phase: str, label: StoredLabel) -> bool:
        """Whether a failed label may be tried again: validation is not budgeted.

        What labels that run or were not tried yet are expected to cost is set aside.
        """
        if phase not in LEARNING:
            return True
        ledger = Ledger(self.config, Books(self.store.entries()))
        limit = self.plan.get("budget", ledger.limit)
        return ledger.committed(label) <= limit * (1 + 1e-9)

    def _levels(self) -> list[str]:
        if self.store.meta("plan") is None:
            return list(self.fidelities)
        return planning.levels_at(self.plan, self.store.steps(), self._number)

    def _dataset(
        self, step: int, levels: Sequence[str] | None = None
    ) -> tuple[LabelledDataset, list[int]]:
        names = self._levels() if levels is None else levels
        fidelities = tuple(self.fidelities[name] for name in names)
        return self.store.dataset(fidelities, up_to_step=step)

    def _group(self) -> list[list[int]] | str:
        """Permutations of like atoms, found once, from the whole pool."""
        wanted = self.config.model.permutations
        if wanted != "auto":
            return wanted if wanted == "none" else [list(p) for p in wanted]
        known = self.store.meta("permutations")
        if known is None:
            group = find_group([s.atoms for s in self.store.structures()])
            known = json.dumps(group.tolist())
            self.store.set_meta("permutations", known)
        return json.loads(known)

    @cached_property
    def _engine(self) -> Engine:
        wanted, seed = self.config.model, self.config.seed
        if wanted.kind == "sparse":
            return SparseEngine(wanted.sparse, seed)
        return ExactEngine(wanted.kernel, self._group, seed, EVIDENCE_ROWS)

    def _rebuilt(self, step: int) -> Potential:
        """The model at the end of a step, from its record."""
        record = next(
            s.info
            for s in reversed(self.store.steps())
            if s.step <= step and "fit" in s.info
        )
        model = self._engine.rebuild(self._dataset(step)[0], record["fit"])
        return recalibrated(model, record)

    def _model(self, step: int) -> tuple[Potential, dict[int, int]]:
        """The model at the end of a step, and where structures stand in its data."""
        if self._known is None or self._known[0] != step:
            self._known = (step, self._rebuilt(step))
        _, ids = self._dataset(step)
        return self._known[1], {structure: i for i, structure in enumerate(ids)}

    def _learn(self, number: int, phase: str) -> dict[str, Any]:
        """Fits all labels so far; levels below that did not change are held."""
        if phase not in LEARNING:
            return {}
        if phase == "pilot":
            self._plan(number)  # before the fit: a level that is left is not fitted
        self.progress(f"step {number}: learning")
        dataset, ids = self._dataset(number)
        steps = [s for s in self.store.steps() if s.step < number]
        fitted = max((s.step for s in steps if "fit" in s.info), default=0)
        # without waiting, steps that are complete together are learned from as the last
        entries = self.store.entries(purposes=BUDGETED)
        bought = {x.level for x in entries if fitted < x.step <= number}
        start, hold = held_levels(steps, dataset.levels, phase, bought)
        known = None if self._known is None else self._known[1]
        model, kept = fit_or_keep(
            lambda: self._engine.fit(
                dataset, start=start, hold_below=hold, reuse=known
            ),
            self._keeping(dataset, steps),
            vector_of,
        )
        model, left = planning.without_useless_levels(
            model,
            self._engine.evidence,
            lambda levels: self._engine.fit(
                self._dataset(number, levels)[0], start=None, hold_below=0, reuse=None
            ),
            refitted_from=hold,
        )
        for found in left:
            self._tell(found["sentence"])
        heldout = self._heldout(model.levels)
        model, record = learn(model, heldout)
        self._known = (number, model)
        record |= {"fit": self._engine.record(model), "levels": list(model.levels)}
        seed = [self.config.seed, 5, number]
        probes = [s.atoms for s in self.store.structures() if s.role == "probe"]
        judged = judgements(
            model, heldout, self.config.stopping, seed=seed, probes=probes
        )
        said = [list(x) for x in notices(model, dataset, ids, kept)]
        before = [x for step in steps for x in step.info.get("notices", [])]
        for kind, sentence in said:
            if [kind, sentence] not in before:
                self.store.log_event(kind, sentence)
                self._tell(sentence)
        return record | {"left": left, "judged": judged, "notices": said}

    def _keeping(
        self, dataset: LabelledDataset, before: Sequence[StoredStep]
    ) -> Callable[[], Potential] | None:
        """The model of these labels with the last fit, if there is one of their levels."""
        last = next((s.info for s in reversed(before) if "fit" in s.info), None)
        if last is None or last["levels"] != list(dataset.levels):
            return None
        return lambda: self._engine.rebuild(dataset, last["fit"])

    def _heldout(self, levels: tuple[str, ...]) -> HeldOut | None:
        dataset, _ = self.store.dataset(
            tuple(self.fidelities[name] for name in levels), roles=("heldout",)
        )
        return HeldOut(dataset) if len(dataset) else None

    def _finish(self) -> None:
        if self.store.meta("evaluation") is not None:
            self._mend_model()
            return
        model, place = self._model(self._number - 1)
        heldout = self._heldout(model.levels)
        save_potential(model, self.directory / "model")
        self._compare(self._number - 1, model, heldout, place)
        result = final_evaluation(model, heldout)
        self.store.set_meta("evaluation", json.dumps(result))

    def _mend_model(self) -> None:
        """Writes the model of a finished campaign again if it is damaged or gone."""
        try:
            load_potential(self.directory / "model")
        except (ArtefactError, OSError) as error:
            self._tell(f"the model is made anew from the store: {error}")
            model, _ = self._model(self._number - 1)
            save_potential(model, self.directory / "model")

    def _write_results(self) -> dict[str, Any]:
        results = results_document(self.config, self.store)
        write_text(self.directory / "results.json", json.dumps(results, indent=1))
        return results

    @contextmanager
    def _opened(self) -> Iterator[None]:
        """The store, checked against the configuration, and the workers."""
        self.store = CampaignStore(self.directory / "campaign.sqlite")
        self._number, self._known, self._ranked = 1, None, None
        try:
            digest = self.store.meta("digest")
            if digest not in (None, self.config.digest()):
                raise ConfigError(
                    f"{self.directory} holds a campaign with another configuration: "
                    "give another --dir, or the configuration it was started with"
                )
            if digest is None:
                self.store.set_meta("config", self.config.canonical_json())
                self.store.set_meta("folder", str(self.config.folder))
                self.store.set_meta("system", json.dumps(system_of(self.config)))
                self.store.set_meta("digest", self.config.digest())
            else:
                resumed = int(self.store.meta("resumed") or 0) + 1
                self.store.set_meta("resumed", str(resumed))
                self.store.reset_running()
            if self._executor is not None:
                self._labels = self._executor
                yield
                return
            execution = self.config.execution
            memory = None
            if execution.memory is not None:
                memory = round(execution.memory * 2**30)
            with LabelPool(
                execution.workers, timeout=execution.timeout, memory_limit=memory
            ) as pool:
                self._labels = pool
                yield
        finally:
            self.store.close()
            self._stop.clear()  # a campaign that was paused can be run again


def _only(requests: list[LabelRequest]) -> Asked:
    return requests, {}
