"""Sememe entanglement encoding: what sums of tensor products of meaningful units keep of an embedding, and what not."""

from collections.abc import Mapping, Sequence
from functools import partial
from statistics import fmean, median
from typing import TYPE_CHECKING, Any

from intarsia.experiments.cells import Estimate
from intarsia.experiments.context import Context
from intarsia.experiments.records import Claim, Figure, Outcome, Row
from intarsia.experiments.registry import experiment

if TYPE_CHECKING:
    from intarsia.experiments._see_recipe import SEERecipe

PAPER = "SEE: Sememe Entanglement Encoding for Transformer-based Models Compression, arXiv 2412.12204"

_OWN = "ours"
_ABSTRACT = "abstract, introduction"
_RAW, _CENTRED, _OVERLAP = "raw relative error", "centred relative error", "neighbours kept of 10, %"
_SMALL_LOSS = 0.02
_FIT_BAR, _TOP_BAR, _PLACE_BAR = 0.905, 30.0, 80.0

Verdict = tuple[bool | None, str]


@experiment(
    "sememe-entanglement-encoding",
    title="SEE: embeddings from sums of tensor products of sememes and pieces",
    paper=PAPER,
    claims=[
        Claim("baselines", "closed forms and rounding give the reference errors", _OWN),
        Claim(
            "order-at-equal-size",
            "at equal size and steps the error of SEE is below MorphTE's, and MorphTE's below word2ketXS'",
            _ABSTRACT,
        ),
        Claim("see-fit", f"10x SEE reaches a centred error of {_FIT_BAR:g} or less in 500 steps", _OWN),
        Claim("structure-in-fits", "at equal size SEE's error is below that of units picked by a hash", _OWN),
        Claim(
            "neighbours",
            "at equal size and with all copies SEE keeps more of a token's neighbours than units picked by a hash",
            _OWN,
        ),
        Claim("hybrid", "at equal size SVD + SEE has a smaller error than the SVD alone", _OWN),
        Claim("high-ratios", "at 40x and more SEE's error is below the SVD's", "abstract (10x to 80x)"),
        Claim(
            "forms-of-known-words",
            f"left out of the fit, a token's row is among the {_TOP_BAR:g} % ten nearest of 1,000 and its median place "
            f"{_PLACE_BAR:g} or better",
            _OWN,
        ),
        Claim(
            "meaning-of-new-words",
            "rows of words of which no form is known are predicted better by sememes and pieces than by pieces, or by "
            "pieces and senses of other words (paired intervals above 0)",
            _OWN,
        ),
        Claim(
            "new-words-in-text",
            "with these rows a model predicts text with new words better than with the mean of their parts' rows",
            _OWN,
        ),
        Claim(
            "classifier",
            f"a classifier from scratch with SEE at 9x or more loses at most {_SMALL_LOSS:g} accuracy to the dense "
            "one, and is not below low rank",
            _ABSTRACT,
        ),
        Claim(
            "small-data",
            "from the fewest sentences a classifier with SEE is above one with the hash and one with low rank, at "
            "equal size (paired intervals above 0)",
            _OWN,
        ),
        Claim(
            "high-ratio-classifier",
            "at 40x a classifier from scratch with SEE is above one with the hash and one with low rank, at equal "
            "size, from few sentences and from many (paired intervals above 0)",
            "abstract (10x to 80x)",
        ),
        Claim(
            "stages",
            "after the same training stages SEE's cross-entropy is below the SVD's at every ratio (paired intervals "
            "below 0)",
            _ABSTRACT,
        ),
        Claim(
            "hybrid-stages",
            "after the same stages SVD + SEE is below the SVD alone (paired interval below 0)",
            _OWN,
        ),
        Claim(
            "meaning-in-stages",
            "after the same stages SVD + SEE is below SVD + hashed (paired interval below 0)",
            _OWN,
        ),
        Claim("int4", "at 10x or more SEE after training predicts text as well as int4 rounding at 7x", _OWN),
        Claim(
            "translation", "10x to 80x smaller embeddings cost at most 1 BLEU of translation from scratch", _ABSTRACT
        ),
    ],
)
def run(context: Context) -> Outcome:
    """Runs the parts of the recipe; claims of a part that is left out are not judged."""
    from intarsia.experiments._see_recipe import load_lexicon, read_recipe

    recipe = read_recipe(context.config)
    out = _Findings(context)
    if recipe.matrix or recipe.fits or recipe.unseen or recipe.classifier:
        from intarsia.models import load_causal_lm

        loaded = _Late(lambda: load_causal_lm(recipe.model, device="cpu"))
        lexicon = _Late(lambda: load_lexicon(recipe))
        for part in (_matrix, _fits, _unseen, _classifier):
            part(recipe, context, out, loaded, lexicon)
    _stages(recipe, context, out)
    _translation(recipe, context, out)
    claims = [
        context.claim(id, *out.verdicts.get(id, (None, "this recipe leaves out what would decide it")))
        for id in context.claims
    ]
    return Outcome(out.rows, claims, out.figures, [*out.notes, *_notes(recipe)])


class _Late:
    """A value made when it is first needed: a resumed run may need none of it."""

    def __init__(self, make: Any) -> None:
        self._make, self._made = make, None

    def __call__(self) -> Any:
        if self._made is None:
            self._made = self._make()
        return self._made


def _with(late: _Late, compute: Any, *arguments: Any) -> Any:
    return compute(late(), *arguments)


class _Findings:
    """What the parts add to the outcome."""

    def __init__(self, context: Context) -> None:
        self.rows: list[Row] = []
        self.verdicts: dict[str, Verdict] = {}
        self.figures: list[Figure] = []
        self.notes: list[str] = []
        self.seed = context.seed


# A


def _matrix(recipe: "SEERecipe", context: Context, out: _Findings, loaded: _Late, _: _Late) -> None:
    part = recipe.matrix
    if part is None:
        return
    from intarsia.experiments._see_studies import matrix_study

    found = context.stage("matrix", lambda: matrix_study(loaded(), part, recipe.text))
    for name, (raw, centred) in found["errors"].items():
        out.rows.append(Row(name, "whole matrix", _RAW, None, raw))
        out.rows.append(Row(name, "whole matrix", _CENTRED, None, centred))
    for name, value in found["perplexity"].items():
        out.rows.append(Row(name, "text, nothing trained", "perplexity", None, value, n=found["tokens"]))
    off = {
        name: abs(found["errors"][name][0] - reference)
        for name, reference in part.reference.items()
        if name in found["errors"]
    }
    if off:
        worst = max(off, key=lambda name: off[name])
        evidence = f"{len(off)} systems, the largest difference {off[worst]:.4f} ({worst})"
        out.verdicts["baselines"] = (off[worst] <= part.tolerance, evidence)


# B


def _fits(recipe: "SEERecipe", context: Context, out: _Findings, loaded: _Late, lexicon: _Late) -> None:
    part = recipe.fits
    if part is None:
        return
    from intarsia.experiments import _see_studies as studies
    from intarsia.experiments import _see_systems as systems

    made = _Late(lambda: studies.vocabulary_of(loaded(), part.tokens, lexicon(), part.units))

    def fit(system: str, parameters: int, seed: int) -> dict[str, Any]:
        vocabulary, matrix = made()
        return studies.fit_study(vocabulary, matrix, system, parameters, seed, part)

    found: dict[str, dict[str, list[dict[str, Any]]]] = {}
    for ratio, parameters in part.parameters.items():
        found[ratio] = {}
        for system in part.systems[ratio]:
            seeds = recipe.seeds[:1] if system in systems.CLOSED_FORMS else recipe.seeds
            for offset in seeds:
                seed = context.seed + offset
                name = f"fit-{ratio}-{_plain(system)}-seed{seed}"
                fitted = context.stage(name, partial(fit, system, parameters, seed))
                found[ratio].setdefault(system, []).append(fitted)
    for ratio, of_ratio in found.items():
        data = f"{part.tokens:,} most frequent tokens, {ratio}"
        for system, fits in of_ratio.items():
            for metric, name, scale in ((_CENTRED, "centred", 1), (_OVERLAP, "overlap", 100)):
                out.rows.append(_over_seeds(system, data, metric, [scale * one[name] for one in fits]))
            out.rows.append(Row(system, data, "parameters", None, fits[0]["parameters"]))
    errors = {
        ratio: {name: [one["centred"] for one in of] for name, of in rest.items()} for ratio, rest in found.items()
    }
    first = next(iter(errors))
    _judge_fits(first, errors, out)
    kept = {name: [100 * one["overlap"] for one in of_seeds] for name, of_seeds in found[first].items()}
    if {systems.SEE_ALL, systems.HASHED} <= set(kept):
        told = ", ".join(f"{name} {fmean(values):.1f} %" for name, values in kept.items())
        out.verdicts["neighbours"] = (min(kept[systems.SEE_ALL]) > max(kept[systems.HASHED]), told)
    out.figures += [
        _fit_figure(found, "centred", 1, "Error at equal size", "centred relative error (1 = the mean row alone)"),
        _fit_figure(found, "overlap", 100, "Neighbours kept at equal size", "of the ten nearest tokens, %"),
    ]


def _judge_fits(first: str, errors: Mapping[str, Mapping[str, Sequence[float]]], out: _Findings) -> None:
    from intarsia.experiments import _see_systems as systems

    at_first = errors[first]
    told = {name: _told(values) for name, values in at_first.items()}
    order = (systems.SEE, systems.MORPHTE, systems.WORD2KETXS)
    if all(name in at_first for name in order):
        see, pieces, xs = (at_first[name] for name in order)
        out.verdicts["order-at-equal-size"] = (
            max(see) < min(pieces) and max(pieces) < min(xs),
            ", ".join(f"{name} {told[name]}" for name in (*order, systems.PIECES, systems.HASHED) if name in told),
        )
    if systems.SEE in at_first:
        out.verdicts["see-fit"] = (fmean(at_first[systems.SEE]) <= _FIT_BAR, f"{told[systems.SEE]} at {first}")
    pairs = [(ratio, of) for ratio, of in errors.items() if systems.SEE in of and systems.HASHED in of]
    if pairs:
        out.verdicts["structure-in-fits"] = (
            all(max(of[systems.SEE]) < min(of[systems.HASHED]) for _, of in pairs),
            "; ".join(f"{r}: SEE {_told(of[systems.SEE])}, hashed {_told(of[systems.HASHED])}" for r, of in pairs),
        )
    if systems.HYBRID in at_first and systems.SVD in at_first:
        out.verdicts["hybrid"] = (
            max(at_first[systems.HYBRID]) < at_first[systems.SVD][0],
            ", ".join(
                f"{name} {told[name]}" for name in (systems.HYBRID, systems.HYBRID_HASHED, systems.SVD) if name in told
            ),
        )
    high = [(ratio, of) for ratio, of in errors.items() if ratio != first and {systems.SEE, systems.SVD} <= set(of)]
    if high:
        out.verdicts["high-ratios"] = (
            all(max(of[systems.SEE]) < of[systems.SVD][0] for _, of in high),
            "; ".join(f"{r}: SEE {_told(of[systems.SEE])}, SVD {_told(of[systems.SVD])}" for r, of in high),
        )


def _fit_figure(
    found: Mapping[str, Mapping[str, Sequence[Mapping[str, Any]]]], value: str, scale: float, title: str, label: str
) -> Figure:
    from intarsia.experiments import plots

    groups = list(dict.fromkeys(system for of_ratio in found.values() for system in of_ratio))
    return plots.bar_with_intervals(
        {
            system: {
                ratio: _estimate([scale * one[value] for one in of_ratio[system]])
                for ratio, of_ratio in found.items()
                if system in of_ratio
            }
            for system in groups
        },
        title=title,
        label=label,
        from_zero=False,
        caption="The same tokens, numbers and steps for all; intervals are over seeds.",
    )


# C


def _unseen(recipe: "SEERecipe", context: Context, out: _Findings, loaded: _Late, lexicon: _Late) -> None:
    part = recipe.unseen
    if part is None:
        return
    from intarsia.experiments import _see_studies as studies
    from intarsia.experiments import _see_systems as systems

    made = _Late(lambda: studies.vocabulary_of(loaded(), part.tokens, lexicon(), part.units))
    made_for_rows = _Late(lambda: studies.vocabulary_of(loaded(), part.tokens, lexicon(), part.row_units))

    def fit(system: str, seed: int) -> dict[str, Any]:
        vocabulary, matrix = made()
        known = studies.known_tokens(vocabulary.units(systems.SEE), part.share, seed)
        return studies.unseen_fit(vocabulary, matrix, system, known, seed, part)

    def new_words(seed: int) -> dict[str, Any]:
        vocabulary, matrix = made_for_rows()
        return studies.new_word_study(loaded(), vocabulary, matrix, seed, part)

    seeds = [context.seed + offset for offset in recipe.seeds]
    compared = (systems.SEE_ALL, systems.SHUFFLED, systems.SEE, systems.MORPHTE, systems.HASHED)
    fits = {
        system: [context.stage(f"unseen-{_plain(system)}-seed{seed}", partial(fit, system, seed)) for seed in seeds]
        for system in compared
    }
    data = f"forms left out, {part.parameters:,} numbers"
    for system, found in fits.items():
        _place_rows(system, data, [one["places"] for one in found], out)
    best = min((systems.SEE_ALL, systems.SEE), key=lambda name: median(_joined(fits[name], "places")))
    places = _joined(fits[best], "places")
    share = studies.top_share(places)
    told = ", ".join(
        f"{name} {studies.top_share(_joined(found, 'places')):.1f} % and {median(_joined(found, 'places')):.0f}"
        for name, found in fits.items()
    )
    out.verdicts["forms-of-known-words"] = (share >= _TOP_BAR and median(places) <= _PLACE_BAR, told)
    new = [context.stage(f"new-words-seed{seed}", partial(new_words, seed)) for seed in seeds]
    _judge_new_words(new, out)


def _judge_new_words(found: Sequence[Mapping[str, Any]], out: _Findings) -> None:
    from intarsia.experiments._see_studies import REGRESSIONS, TRUE_ROW

    data = "words left out with all forms"
    names = list(found[0]["places"])
    for name in names:
        _place_rows(
            f"rows by {name}" if name in REGRESSIONS else name, data, [one["places"][name] for one in found], out
        )
    main, *others = REGRESSIONS
    hits = {name: [float(place <= 10) for one in found for place in one["places"][name]] for name in names}
    gains = {name: _difference(hits[main], hits[name]) for name in others}
    out.verdicts["meaning-of-new-words"] = (
        all(gain.low > 0 for gain in gains.values()),
        "; ".join(
            f"{100 * gain.mean:.1f} points ({100 * gain.low:.1f} to {100 * gain.high:.1f}) above {name}"
            for name, gain in gains.items()
        ),
    )
    if "text" not in found[0]:
        return
    from intarsia.experiments._see_studies import PARTS_ROW

    count = sum(one["text"]["new"] for one in found)
    losses = {
        name: {
            where: [value for one in found for value in one["text"]["losses"][name][where]]
            for where in ("new", "after")
        }
        for name in found[0]["text"]["losses"]
    }
    for name, of_name in losses.items():
        system = f"rows by {name}" if name in REGRESSIONS else name
        for where, metric in (("new", "cross-entropy of new words, nats"), ("after", "cross-entropy after them, nats")):
            out.rows.append(_over_items(system, "text with new words", metric, of_name[where]))
    gain = _difference(losses[PARTS_ROW]["new"], losses[main]["new"])
    after = _difference(losses[PARTS_ROW]["after"], losses[main]["after"])
    out.verdicts["new-words-in-text"] = (
        gain.low > 0 and after.low > 0,
        f"{gain.mean:.2f} nats ({gain.low:.2f} to {gain.high:.2f}) lower on {count} new words, {after.mean:.2f} "
        f"({after.low:.2f} to {after.high:.2f}) on what follows them",
    )
    out.figures.append(_new_word_figure(losses, TRUE_ROW))


def _new_word_figure(losses: Mapping[str, Mapping[str, Sequence[float]]], true: str) -> Figure:
    from intarsia.experiments import plots

    return plots.bar_with_intervals(
        {
            name: {"new words": _item_estimate(of["new"]), "tokens after them": _item_estimate(of["after"])}
            for name, of in losses.items()
        },
        title="A model that meets words for the first time",
        label="cross-entropy, nats",
        from_zero=False,
        caption=f"Rows of a fifth of the lexicon's words, in and out, are replaced; '{true}' is the model itself.",
    )


# D


def _classifier(recipe: "SEERecipe", context: Context, out: _Findings, loaded: _Late, lexicon: _Late) -> None:
    part = recipe.classifier
    if part is None:
        return
    from intarsia.compress.units.pieces import word_segmenter
    from intarsia.experiments import _see_classifier as classifier
    from intarsia.experiments import _see_systems as systems

    def make() -> classifier.SentenceData:
        segmenter = word_segmenter(loaded().tokenizer, part.units.merges)
        return classifier.SentenceData(part, lexicon(), segmenter)

    data = _Late(make)

    def train(system: str, factor: float, sentences: int, seed: int) -> dict[str, Any]:
        return classifier.train_classifier(data(), system, factor, sentences, seed, part)

    compared = [systems.SEE, systems.SEE_ALL, systems.PIECES, systems.HASHED, classifier.LOW_RANK]
    jobs = [
        (classifier.DENSE, "dense", 1.0),
        *((name, r, ratio) for r, ratio in part.ratios.items() for name in compared),
    ]
    found: dict[tuple[str, str, int], list[dict[str, Any]]] = {}
    for system, ratio, factor in jobs:
        for sentences in part.sentences:
            for offset in recipe.seeds:
                seed = context.seed + offset
                name = f"classifier-{ratio}-{_plain(system)}-{sentences}-seed{seed}"
                trained = context.stage(name, partial(train, system, factor, sentences, seed))
                found.setdefault((system, ratio, sentences), []).append(trained)
    for (system, ratio, sentences), of_seeds in found.items():
        name = system if system == classifier.DENSE else f"{system}, {ratio}"
        values = _mean_right(of_seeds)
        out.rows.append(_over_items(name, f"sentences, {sentences:,} to learn from", "accuracy", values))
        if sentences == part.sentences[-1]:
            out.rows.append(Row(name, "sentences", "parameters", None, of_seeds[0]["parameters"]))
    _judge_classifier(part, found, out)
    out.figures.append(_classifier_figure(part, found))


def _judge_classifier(part: Any, found: Mapping[tuple[str, str, int], Any], out: _Findings) -> None:
    from intarsia.experiments import _see_classifier as classifier
    from intarsia.experiments import _see_systems as systems

    first, most, fewest = next(iter(part.ratios)), part.sentences[-1], part.sentences[0]

    def gain(a: tuple[str, str, int], b: tuple[str, str, int]) -> Any:
        return _difference(_mean_right(found[a]), _mean_right(found[b]))

    # All copies in every token is the paper's reading; copies by a hash are told beside it.
    see, assigned = (systems.SEE_ALL, first, most), (systems.SEE, first, most)
    loss = gain((classifier.DENSE, "dense", most), see)
    low = gain(see, (classifier.LOW_RANK, first, most))
    size = found[classifier.DENSE, "dense", most][0]["parameters"] / found[see][0]["parameters"]
    out.verdicts["classifier"] = (
        loss.mean <= _SMALL_LOSS and low.mean >= 0 and size >= 9,
        f"{size:.1f} times smaller, {_signed(-loss.mean)} to dense ({_signed(-loss.high)} to {_signed(-loss.low)}), "
        f"{_signed(low.mean)} to low rank ({_signed(low.low)} to {_signed(low.high)}) from {most:,} sentences; with "
        f"assigned copies {_signed(gain(assigned, (classifier.DENSE, 'dense', most)).mean)} to dense",
    )

    def against(ratio: str, sentences: int) -> Verdict:
        rivals = {
            name: gain((systems.SEE_ALL, ratio, sentences), (name, ratio, sentences))
            for name in (systems.HASHED, classifier.LOW_RANK)
        }
        told = "; ".join(
            f"{_signed(d.mean)} to {name} ({_signed(d.low)} to {_signed(d.high)})" for name, d in rivals.items()
        )
        return all(difference.low > 0 for difference in rivals.values()), f"from {sentences:,} sentences {told}"

    out.verdicts["small-data"] = against(first, fewest)
    high = [
        against(ratio, sentences) for ratio, times in part.ratios.items() if times >= 40 for sentences in part.sentences
    ]
    if high:
        out.verdicts["high-ratio-classifier"] = (all(held for held, _ in high), "; ".join(told for _, told in high))


def _classifier_figure(part: Any, found: Mapping[tuple[str, str, int], Any]) -> Figure:
    from intarsia.experiments import plots

    first = next(iter(part.ratios))
    names = list(dict.fromkeys(system for system, ratio, _ in found if ratio in ("dense", first)))
    return plots.bar_with_intervals(
        {
            name: {
                f"{count:,} sentences": _item_estimate(_mean_right(of_seeds))
                for count in part.sentences
                for (system, ratio, sentences), of_seeds in found.items()
                if system == name and ratio in ("dense", first) and sentences == count
            }
            for name in names
        },
        title="A classifier from scratch",
        label="accuracy",
        from_zero=False,
        caption=f"All but the dense embedding are {first} smaller; means over seeds, intervals over test sentences.",
    )


def _mean_right(of_seeds: Sequence[Mapping[str, Any]]) -> list[float]:
    return [fmean(values) for values in zip(*(one["right"] for one in of_seeds), strict=True)]


# E


def _stages(recipe: "SEERecipe", context: Context, out: _Findings) -> None:
    part = recipe.stages
    if part is None:
        return
    from intarsia.experiments._see_stages import original_losses, stages_study
    from intarsia.models import load_causal_lm

    verdicts: dict[str, list[Verdict]] = {}
    for model in part.models or (recipe.model,):
        loaded = _Late(partial(load_causal_lm, model))
        prefix = "stages" if not part.models else f"stages-{_plain(model)}"
        base = context.stage(f"{prefix}-original", partial(_with, loaded, original_losses, part))
        jobs: list[tuple[str, float | None]] = [(name, None) for name in part.untrained]
        jobs += [(name, float(ratio)) for ratio, names in part.methods.items() for name in names]
        found = {}
        for method, ratio in jobs:
            name = method if ratio is None else f"{method} {ratio:g}x"
            given = (method, ratio, part, recipe.lexicon, context.seed, context.folder / "training")
            found[name] = context.stage(f"{prefix}-{_plain(name)}", partial(_with, loaded, stages_study, *given))
        _stage_rows(model, base, found, out)
        judged = _judge_stages(part, found)
        for id, verdict in judged.items():
            told = f"{model}: {verdict[1]}" if part.models else verdict[1]
            verdicts.setdefault(id, []).append((verdict[0], told))
        out.figures.append(_stage_figure(model, found))
    for id, judged_of in verdicts.items():
        undecided = any(held is None for held, _ in judged_of)
        holds = None if undecided else all(held for held, _ in judged_of)
        out.verdicts[id] = (holds, "; ".join(told for _, told in judged_of))


def _stage_rows(model: str, base: Mapping[str, Any], found: Mapping[str, Mapping[str, Any]], out: _Findings) -> None:
    data = f"{model}, text"
    metric = "cross-entropy, nats"
    out.rows.append(_over_items("original", data, metric, base["losses"]))
    for name, one in found.items():
        if "curve" in one:
            out.rows.append(
                Row(f"{name}, fit alone", f"{data} of the curve", metric, None, one["curve"][0]["held_out_ce"])
            )
        out.rows.append(_over_items(f"{name}, trained" if "curve" in one else name, data, metric, one["losses"]))
        out.rows.append(Row(name, data, "embedding, times fewer bytes", None, one["byte_ratio"]))
        out.rows.append(Row(name, data, "model, times fewer bytes", None, one["model_byte_ratio"]))


def _judge_stages(part: Any, found: Mapping[str, Mapping[str, Any]]) -> dict[str, Verdict]:
    from intarsia.experiments._see_stages import HASHED_HYBRID

    levels = ", ".join(f"{name} {fmean(one['losses']):.2f}" for name, one in found.items())
    judged: dict[str, Verdict] = {}
    for id, method, rival in (
        ("stages", "see", "svd"),
        ("hybrid-stages", "hybrid", "svd"),
        ("meaning-in-stages", "hybrid", HASHED_HYBRID),
        ("int4", "see", "int4"),
    ):
        gaps = {}
        for ratio in map(float, part.methods):
            name, other = f"{method} {ratio:g}x", rival if rival in part.untrained else f"{rival} {ratio:g}x"
            if {name, other} <= set(found) and (rival not in part.untrained or ratio >= 10):
                gaps[name, other] = _difference(found[name]["losses"], found[other]["losses"])
        if gaps:
            # As well as few bits: no higher. Better than a rival: lower beyond what other text would change.
            holds = all(gap.mean <= 0 if rival in part.untrained else gap.high < 0 for gap in gaps.values())
            told = "; ".join(
                f"{name} against {other} {gap.mean:+.3f} ({gap.low:+.3f} to {gap.high:+.3f})"
                for (name, other), gap in gaps.items()
            )
            told = f"{told} nats after {part.stages.steps} steps ({levels})"
            if id == "meaning-in-stages":
                # The two have changed places, by 0.2 nats, with the seed of training.
                judged[id] = (None, f"{told}; one seed of training does not decide between sememes and a hash")
            else:
                judged[id] = (holds, told)
    return judged


def _stage_figure(model: str, found: Mapping[str, Mapping[str, Any]]) -> Figure:
    from intarsia.experiments import plots

    curves = {name: one["curve"] for name, one in found.items() if "curve" in one}
    steps = sorted({point["step"] for curve in curves.values() for point in curve})
    values = {name: {point["step"]: point["held_out_ce"] for point in curve} for name, curve in curves.items()}
    return plots.lines(
        steps,
        {name: [of.get(step) for step in steps] for name, of in values.items()},
        title=f"Learning after the fit: {model}",
        xlabel="steps of stages 1 and 2",
        ylabel="cross-entropy of held-out text, nats",
        caption="Stage 1 matches rows and hidden states, stage 2 the output distribution and the text.",
    )


# F


def _translation(recipe: "SEERecipe", context: Context, out: _Findings) -> None:
    part = recipe.translation
    if part is None:
        return
    from intarsia.experiments._see_recipe import load_lexicon
    from intarsia.experiments._see_translation import DENSE, Translation

    work = _Late(lambda: Translation(part, load_lexicon(recipe), context.folder / "translation"))
    jobs = [(DENSE, 1.0), *((system, ratio) for ratio in part.ratios for system in part.systems)]
    scores: dict[str, list[float]] = {}
    for system, ratio in jobs:
        name = system if system == DENSE else f"{system}, {ratio:g}x"
        for offset in recipe.seeds:
            seed = context.seed + offset
            stage = f"translation-{_plain(name)}-seed{seed}"
            found = context.stage(stage, partial(_with, work, Translation.run, system, ratio, seed))
            scores.setdefault(name, []).append(found["bleu"])
    for name, values in scores.items():
        out.rows.append(_over_seeds(name, part.train, "BLEU", values))
    dense = fmean(scores[DENSE])
    losses = {name: dense - fmean(values) for name, values in scores.items() if name.startswith("SEE")}
    out.verdicts["translation"] = (
        all(loss <= 1 for loss in losses.values()),
        f"dense {dense:.1f}; " + ", ".join(f"{name} {_signed(-loss, 1)}" for name, loss in losses.items()),
    )


# Rows and numbers


def _over_seeds(system: str, data: str, metric: str, values: Sequence[float]) -> Row:
    estimate = _estimate(values)
    return Row(system, data, metric, None, estimate.value, estimate.low, estimate.high, len(values))


def _over_items(system: str, data: str, metric: str, values: Sequence[float]) -> Row:
    estimate = _item_estimate(values)
    return Row(system, data, metric, None, estimate.value, estimate.low, estimate.high, len(values))


def _place_rows(system: str, data: str, places: Sequence[Sequence[int]], out: _Findings) -> None:
    joined = [place for of_seed in places for place in of_seed]
    hits = [100.0 * (place <= 10) for place in joined]
    out.rows.append(_over_items(system, data, "right row among the 10 nearest, %", hits))
    out.rows.append(Row(system, data, "median place of the right row", None, float(median(joined)), n=len(joined)))


def _estimate(values: Sequence[float]) -> Estimate:
    """Mean over seeds with its t interval."""
    if len(values) < 2:
        return Estimate(values[0])
    from scipy import stats

    mean, error = fmean(values), float(stats.sem(values))
    half = float(stats.t.ppf(0.975, len(values) - 1)) * error
    return Estimate(mean, mean - half, mean + half)


def _item_estimate(values: Sequence[float]) -> Estimate:
    """Mean over items with its bootstrap interval."""
    from intarsia.metrics import bootstrap_interval

    return Estimate(fmean(values), *bootstrap_interval(values))


def _difference(a: Sequence[float], b: Sequence[float]) -> Any:
    from intarsia.metrics import paired_difference

    return paired_difference(a, b)


def _joined(found: Sequence[Mapping[str, Any]], name: str) -> list[int]:
    return [place for one in found for place in one[name]]


def _told(values: Sequence[float]) -> str:
    spread = f" (spread {max(values) - min(values):.3f})" if len(values) > 1 else ""
    return f"{fmean(values):.3f}{spread}"


def _signed(value: float, places: int = 3) -> str:
    return f"{value:+.{places}f}"


def _plain(name: str) -> str:
    return "".join(letter if letter.isalnum() or letter == "." else "-" for letter in name.lower())


def _notes(recipe: "SEERecipe") -> list[str]:
    notes = [
        "The paper's tables were not at hand: its claims are judged by their shape. Which units stand in which slot of "
        "a term, their copies and all training settings are ours.",
        "Intervals of fits are over seeds (t, 95 %); intervals of places, losses and accuracies are over tokens, rows "
        "of text or sentences (bootstrap), each averaged over seeds or pooled.",
    ]
    if recipe.unseen is not None:
        notes.append(
            "Left out forms: other forms of the same word were known. Senses shuffled among words tell how much of the "
            "result is that forms of a word share units, whatever these mean. Words left out with all their forms are "
            "the test of meaning."
        )
        notes.append(
            "Copies that a hash assigns carry nothing over to tokens that were not fitted, since each has a mixture of "
            "its own; with all copies in every token it does."
        )
    if recipe.stages is not None and not recipe.stages.models:
        notes.append(
            f"The stages ran for {recipe.stages.stages.steps} steps of "
            f"{recipe.stages.stages.batch_size * recipe.stages.stages.length} tokens, one seed: the curves are their "
            "beginning."
        )
    return notes
