"""Mutants of the private path, each of one line, and the laws that must catch them: a build in which one lives fails.

`python tests/test_mutants.py` prints the table.
"""

import __future__

import ast
import importlib
import inspect
import sys
import textwrap
import time
from types import CodeType
from typing import NamedTuple

import pytest
from laws import LAWS, show

pytest.importorskip("opendp")
pytest.importorskip("randomgen")
pytest.importorskip("dp_accounting")
pytest.importorskip("opacus")


class Mutant(NamedTuple):
    """What is wrong, in which function, which text of it is replaced by which other, and the law that catches it."""

    wrong: str
    place: str
    old: str
    new: str
    law: str


STEP = [
    Mutant("no noise", "dp.noise:gaussian", "return sigma * np", "return 0 * sigma * np", "noise"),
    Mutant("half the noise", "dp.noise:gaussian", "return sigma * np", "return 0.5 * sigma * np", "noise"),
    Mutant("3 % less noise", "dp.noise:gaussian", "return sigma * np", "return 0.97 * sigma * np", "noise"),
    Mutant(
        "noise of another law", "dp.noise:gaussian", "standard_normal(shape)", "laplace(0, 0.5**0.5, shape)", "noise"
    ),
    Mutant("noise from a seed", "dp.noise:gaussian", "os.urandom(", "bytes(", "seeds"),
    Mutant("noise off the grid", "dp.noise:on_grid", "np.rint(values / step) * step", "values", "grid"),
    Mutant("samples from numpy's seed", "dp.noise:uniform", "os.urandom(8 * n)", "np.random.bytes(8 * n)", "seeds"),
    Mutant(
        "choices from Python's seed",
        "dp.noise:exponential",
        "secrets.randbelow(",
        "__import__('random').randrange(",
        "seeds",
    ),
    Mutant(
        "losses draw from a seed",
        "dp.sgd:_fresh_draws",
        'int.from_bytes(os.urandom(8), "big", signed=True)',
        "0",
        "seeds",
    ),
    Mutant(
        "losses' draws move what is drawn later",
        "dp.sgd:_fresh_draws",
        'torch.random.fork_rng([device] if device.type == "cuda" else [])',
        "contextlib.nullcontext()",
        "seeds",
    ),
    Mutant("no clipping", "dp.clipping:shrunk", "clamp(max=1)", "clamp(min=1, max=1)", "rows"),
    Mutant("clipping to twice the bound", "dp.clipping:shrunk", "MARGIN *", "2 *", "rows"),
    Mutant(
        "clipping of each parameter",
        "dp.clipping:ClippedSum._clipped",
        "p.total(weight, kept)",
        "p.total(shrunk(p.squares().sqrt(), bounds), kept)",
        "rows",
    ),
    Mutant(
        "rows that are not finite", "dp.clipping:ClippedSum._clipped", "norms.isfinite() &", "(norms >= 0) |", "rows"
    ),
    Mutant(
        "mean over the private batch",
        "dp.clipping:ClippedSum.__call__",
        "total += more",
        "total += more * 8 / len(x)",
        "rows",
    ),
    Mutant(
        "samples of one size",
        "dp.noise:chosen",
        "np.flatnonzero(uniform(n) < rate)",
        "np.argsort(uniform(n))[: round(n * rate)]",
        "samples",
    ),
    Mutant(
        "the same sample again",
        "dp.noise:chosen",
        "np.flatnonzero(uniform(n) < rate)",
        "np.arange(round(n * rate))",
        "samples",
    ),
    Mutant("samples that are too large", "dp.noise:chosen", "< rate", "< 1.1 * rate", "samples"),
    Mutant(
        "shuffled passes",
        "dp.noise:chosen",
        "np.flatnonzero(uniform(n) < rate)",
        "np.array([(LEFT or LEFT.extend(np.argsort(uniform(n))) or LEFT).pop() for _ in range(round(n * rate))])",
        "samples",
    ),
]
TRAINING = [
    Mutant(
        "a higher rate than was paid", "dp.records:PrivateRecords.train", "Plan(rate,", "Plan(2 * rate,", "training"
    ),
    Mutant(
        "fewer steps are paid", "dp.records:PrivateRecords.train", "rate, steps, later", "rate, 1, later", "training"
    ),
    Mutant("less noise than was paid", "dp.budget:Budget.training", "return sigma", "return 0.9 * sigma", "training"),
    Mutant(
        "early stopping",
        "dp.sgd:private_steps",
        "yield step + 1",
        "yield step + 1\n        if not clipped.loss(x, c).mean() < 100: return",
        "training",
    ),
    Mutant(
        "a schedule that follows the loss",
        "dp.sgd:private_steps",
        "descent.step(source(step), step)",
        "descent.step(source(step), 0 if clipped.loss(x, c).mean() < 100 else step)",
        "training",
    ),
    Mutant(
        "divisor from the exact count",
        "dp.records:PrivateRecords.train",
        "rate * self.total,",
        "rate * len(self._x),",
        "training",
    ),
    Mutant(
        "steps from the exact count",
        "dp.records:PrivateRecords.train",
        "plan(self.total,",
        "plan(len(self._x),",
        "training",
    ),
    Mutant(
        "the loss is told",
        "dp.records:PrivateRecords.train",
        "training.progress(step / steps)",
        "training.progress(step / steps, loss=float(loss(own._x, own._c).mean().detach()))",
        "training",
    ),
    Mutant(
        "contexts as often as they are",
        "dp.records:PrivateRecords._contexts",
        "c = self.known[1]",
        "c = self._c",
        "training",
    ),
    Mutant(
        "each row of a person has the bound",
        "dp.sgd:sample",
        "1 / records[persons[rows]]",
        "np.ones(len(rows))",
        "training of persons",
    ),
    Mutant(
        "rows of a person are sampled apart",
        "dp.records:PrivateRecords.train",
        "self._contexts, own._persons)",
        "self._contexts)",
        "training of persons",
    ),
    Mutant(
        "latents are not clipped",
        "dp.records:PrivateRecords.normal",
        "clamp(min=1e-12)).clamp(max=1)",
        "clamp(min=1e-12)).clamp(min=1, max=1)",
        "latents",
    ),
    Mutant(
        "latents without noise",
        "dp.records:PrivateRecords.normal",
        "noised(sums.numpy(), sigma, GRID)",
        "sums.numpy()",
        "latents",
    ),
    Mutant(
        "classes counted exactly",
        "dp.records:PrivateRecords.normal",
        "some / len(self.known[1]) * self.total",
        "len(z)",
        "latents",
    ),
    Mutant(
        "means and products as if one were released",
        "dp.records:PrivateRecords.normal",
        "/ math.sqrt(2)",
        "",
        "latents",
    ),
    Mutant("latents of persons", "dp.records:PrivateRecords.normal", "/ self._most", "", "latents"),
    Mutant(
        "columns of a GAN as they are",
        "synthgen_gan:GAN.fit",
        "self._calibrate(*records.known)",
        "self._calibrate(records._x, records._c)",
        "gan, table",
    ),
    Mutant(
        "outline of raw records",
        "synthgen_diffusion:Diffusion.fit",
        "records.known if",
        "(records._x, records._c) if",
        "diffusion, table",
    ),
    Mutant(
        "columns of latent models as they are",
        "latent:LatentModel._fit_private",
        "self._calibrate(*records.known)",
        "self._calibrate(records._x, records._c)",
        "vae, table",
    ),
]
CHARGE = "self.budget.charge(Charge(what, mechanism, sigma_of(rho), rho, delta))"
DRAWN = "discrete_gaussian(np.asarray(counts, dtype=np.int64), self.deviation(rho))"
TABLES = [
    Mutant(
        "count exact",
        "dp.table:PrivateTable.count",
        "rho)[0]",
        "rho)[0] and self._rows",
        "table",
    ),
    Mutant(
        "half the noise on counts",
        "dp.table:PrivateTable._noisy",
        "self.deviation(rho)",
        "self.deviation(rho) / 2",
        "table",
    ),
    Mutant(
        "counts are not charged",
        "dp.table:PrivateTable._noisy",
        "self.budget.charge(Charge(",
        "Charge.check(Charge(",
        "table",
    ),
    Mutant(
        "charged after the look",
        "dp.table:PrivateTable._noisy",
        f"{CHARGE}\n    return {DRAWN}",
        f"noisy = {DRAWN}\n    {CHARGE}\n    return noisy",
        "table",
    ),
    Mutant("labels without a threshold", "dp.table:PrivateTable.labels", "if n >= least", "if n >= 0", "labels"),
    Mutant("threshold too low", "dp.noise:threshold", "- sigma *", "- 0.7 * sigma *", "labels"),
    Mutant("threshold of one record for a person", "dp.noise:threshold", "1.0 + most", "2.0", "labels"),
    Mutant(
        "labels in the order of rows",
        "dp.table:PrivateTable.labels",
        "counts.take(pc.array_sort_indices(counts.field(0)))",
        "counts",
        "table",
    ),
    Mutant(
        "whether any cell is missing",
        "dp.table:PrivateTable.labels",
        "if n >= least",
        'if n >= least or text == ""',
        "table",
    ),
    Mutant(
        "decimals exact",
        "dp.table:PrivateTable.forms",
        "strict=True))",
        'strict=True)) | {"decimals 8": 1000 * int(counts[FORMS.index("decimals 8")])}',
        "table",
    ),
    Mutant(
        "edges from the largest value",
        "dp.bins:bins",
        "edges, step = within.edges, within.step",
        "step = within.step\n    edges = np.union1d(within.edges, np.nanmax([*values(private._cells[name]), 0.0]))",
        "table",
    ),
    Mutant(
        "surrogate of raw cells",
        "dp.domain:learn_domain",
        "made(column, parts, min(total, LARGEST))",
        "private._cells[name]",
        "table",
    ),
    Mutant(
        "surrogate as long as the table",
        "dp.domain:learn_domain",
        "min(total, LARGEST)",
        "len(private._persons)",
        "table",
    ),
    Mutant(
        "codec of the raw table",
        "dp.prepare:prepare_table",
        "fit_codec(domain.surrogate,",
        "fit_codec(Table(private.cells([c.name for c in schema.columns if c.kind == 'numeric'])),",
        "table",
    ),
    Mutant(
        "raw records among what is known",
        "dp.prepare:prepare_table",
        "domain.surrogate.take(np.arange(min(MADE, len(domain.surrogate))))",
        "Table(private.cells(numeric))",
        "table",
    ),
    Mutant("exact count to the family", "dp.prepare:prepare_table", "domain.total,", "len(table),", "table"),
    Mutant(
        "classes of images exact",
        "dp.prepare:prepare_images",
        "for name, n in sorted(found.items())",
        "for name, n in sorted((dict.fromkeys(images.names, 1) | found).items())",
        "images",
    ),
    Mutant("noise of one record for a person", "dp.table:PrivateTable.deviation", "self.sensitivity *", "", "persons"),
    Mutant("all rows of a person are kept", "dp.table:_some_of_each", "order[rank < most]", "order", "persons"),
    Mutant(
        "a training knows no persons",
        "dp.prepare:prepare_table",
        "private.persons() if unit.column else None",
        "None",
        "persons",
    ),
    Mutant("marginals of one record for a person", "dp.prepare:prepare_table", "private.sensitivity)", "1)", "persons"),
]
CODES = [
    Mutant(
        "marginals without noise",
        "dp.codes:PrivateCodes.measure",
        "discrete_gaussian(counts.ravel(), scale * self._most)",
        "counts.ravel()",
        "codes",
    ),
    Mutant(
        "the farthest marginal is chosen",
        "dp.codes:PrivateCodes.choose",
        "exponential(np.array(scores), max(weights) * self._most, epsilon)",
        "int(np.argmax(scores))",
        "codes",
    ),
    Mutant("total of marginals exact", "dp.records:PrivateRecords.codes", "self.total", "len(self._x)", "codes"),
    Mutant(
        "choices of one record for a person",
        "dp.codes:PrivateCodes.choose",
        "max(weights) * self._most",
        "max(weights)",
        "codes of persons",
    ),
    Mutant(
        "noise of marginals for one record",
        "dp.codes:PrivateCodes.measure",
        "scale * self._most).reshape",
        "scale).reshape",
        "codes of persons",
    ),
    Mutant("choices twice as sharp", "dp.noise:exponential", "/ (2 * Fraction(sensitivity))", "", "choice"),
    Mutant(
        "half of the discrete noise", "dp.noise:discrete_gaussian", "scale=float(sigma)", "scale=sigma / 2", "counts"
    ),
]
BUDGET = [
    Mutant("epsilon is no cap", "dp.budget:Budget.charge", "if self._cost(charge) >", "if 0 >", "cap"),
    Mutant("delta is no cap", "dp.budget:Budget.charge", "or passed >", "or 0 >", "cap"),
    Mutant(
        "delta is spent twice", "dp.budget:Budget._delta", "self.delta * (1 - THRESHOLDS)", "self.delta", "certificates"
    ),
    Mutant("nothing is written down", "dp.budget:Budget.charge", "self.keep(self.fit, charge)", "pass", "disk"),
    Mutant("the ledger stays in memory", "dp.ledger:keeper", "os.fsync(file.fileno())", "pass", "disk"),
    Mutant("a price is believed", "dp.ledger:Charge.check", "abs(price - self.rho) > SAME * price or", "", "prices"),
    Mutant("choices are free", "dp.ledger:queries", "in (COUNTS_OF_MANY, CHOICE)", "in (COUNTS_OF_MANY,)", "prices"),
    Mutant("sums are free", "dp.ledger:queries", "scales(SUM)", "()", "prices"),
    Mutant("counts are free", "dp.ledger:queries", "scales(COUNTS)", "()", "prices"),
    Mutant(
        "an accountant forgets trainings",
        "dp.accounting:_pld",
        "_loss(run,",
        "_loss(run._replace(steps=1),",
        "accountant",
    ),
    Mutant(
        "an accountant forgets counts beside trainings",
        "dp.accounting:_pld",
        "Counter(asked.discrete)",
        "Counter()",
        "accountant",
    ),
    Mutant(
        "a query is left out of the certificate",
        "dp.certificate:certificate",
        "for charge in budget.ledger]",
        "for charge in budget.ledger[1:]]",
        "certificates",
    ),
    Mutant(
        "less is told than was spent",
        "dp.certificate:certificate",
        '"spent_epsilon": budget.spent()',
        '"spent_epsilon": 0.9 * budget.spent()',
        "certificates",
    ),
]
WHOLE = [
    Mutant(
        "no self-check",
        "dp.records:PrivateRecords.train",
        "self_check(module, loss, self.space, self.context)",
        '"fused"',
        "strangers",
    ),
    Mutant(
        "losses that mix records",
        "dp.selfcheck:_check_independence",
        "if not torch.allclose(",
        "if not torch.is_tensor(one) and torch.allclose(",
        "strangers",
    ),
    Mutant(
        "latents draw as often as there are records",
        "dp.records:PrivateRecords.normal",
        "self._alone(vectors)",
        "torch.no_grad()",
        "latents",
    ),
    Mutant("who says that it is not private", "dp.rehearsal:rehearse", "if not cls.private", "if False", "strangers"),
    Mutant(
        "records are told",
        "dp.records:PrivateRecords.tensor",
        'raise _refusal("the records themselves")',
        "return self._x, self._c",
        "strangers",
    ),
    Mutant(
        "no rehearsal",
        "synthesizer:Synthesizer._prepare_private",
        "rehearse(self.cls, self.config, name, kind)",
        "False",
        "refusals",
    ),
    Mutant("a seed under a budget", "synthesizer:Synthesizer._fit_private", "or self.seed", "", "refusals"),
    Mutant("rare values under a budget", "synthesizer:Synthesizer._fit_private", "or self.keep_rare", "", "refusals"),
    Mutant(
        "exact count in the model",
        "synthesizer:Synthesizer._fit_private",
        "prepared.codec, prepared.records.total,",
        "prepared.codec, len(as_table(data)),",
        "command",
    ),
    Mutant(
        "warnings by the exact count",
        "cli.private:fitted_privately",
        "_warnings(synthesizer.certificate)",
        '_warnings({**synthesizer.certificate, "records": len(dataset)})',
        "command",
    ),
]
MUTANTS = {m.wrong: m for m in (*STEP, *TRAINING, *TABLES, *CODES, *BUDGET, *WHOLE)}


def found(place):
    """The function at a place, such as dp.table:PrivateTable.count."""
    module, _, names = place.partition(":")
    target = importlib.import_module(module if module.startswith("synthgen_") else f"synthgen.{module}")
    for name in names.split("."):
        target = inspect.getattr_static(target, name)
    return inspect.unwrap(target.fget if isinstance(target, property) else target)


def changed(function, old, new):
    """The code of a function, a text of whose source is replaced by another."""
    source = textwrap.dedent(inspect.getsource(function))
    assert source.count(old) == 1, f"{old!r} occurs {source.count(old)} times: mend the mutant"
    tree = ast.parse(source.replace(old, new))
    tree.body[0].decorator_list = []
    whole = compile(tree, inspect.getfile(function), "exec", __future__.annotations.compiler_flag, dont_inherit=True)
    return next(c for c in whole.co_consts if isinstance(c, CodeType))


@pytest.fixture(scope="module")
def caught(request):
    """Seconds that it took to catch each mutant; the table is shown at the end."""
    seconds = {}
    yield seconds
    rows = [f"{k:46} {MUTANTS[k].place:40} {MUTANTS[k].law:20} {took:5.2f} s" for k, took in seconds.items()]
    show(request, f"{len(seconds)} of {len(MUTANTS)} mutants caught", rows)


@pytest.mark.parametrize("law", LAWS)
def test_law(law):
    LAWS[law]()


@pytest.mark.parametrize("name", MUTANTS)
def test_mutants_are_caught(name, monkeypatch, caught):
    mutant, start = MUTANTS[name], time.process_time()
    function = found(mutant.place)
    monkeypatch.setattr(function, "__code__", changed(function, mutant.old, mutant.new))
    monkeypatch.setattr("synthgen.dp.noise.LEFT", [], raising=False)  # of a pass
    with pytest.raises(AssertionError):
        LAWS[mutant.law]()
    caught[name] = time.process_time() - start


if __name__ == "__main__":
    sys.exit(pytest.main([__file__]))
