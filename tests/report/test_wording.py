import pytest

from mfal.report.wording import (
    batches,
    bought,
    choosing_verdict,
    reached,
    second_level_verdict,
)


def compared(**errors):
    rows = [
        {"name": name.replace("_", " "), "forces_mae": error}
        for name, error in errors.items()
    ]
    levels = [{"name": "gfn2"}, {"name": "pbe"}]
    return {"levels": levels, "comparison": rows}


@pytest.mark.parametrize(
    ("joint", "verb"), [(0.04, "paid"), (0.30, "did not pay"), (0.50, "did not pay")]
)
def test_the_second_level_pays_only_if_the_joint_model_errs_less(joint, verb):
    said = second_level_verdict(
        compared(pbe_alone_random=0.312, joint_standalone=0.6, joint_at_hand=joint)
    )
    assert said.startswith(f"The second level {verb}: ")
    assert f"{joint:.3f}"[:4] in said and "0.312" in said


@pytest.mark.parametrize(("chosen", "verb"), [(0.20, "paid"), (0.31, "did not pay")])
def test_choosing_pays_only_against_random_labels_of_the_same_kind(chosen, verb):
    said = choosing_verdict(
        compared(
            joint_random_labels=0.312,
            joint_information=chosen,
            pbe_alone_random=0.9,
            pbe_alone_information=0.1,
        )
    )
    assert said.startswith(f"Choosing the labels {verb}: ")


def test_what_was_not_compared_is_not_judged():
    only = compared(joint_standalone=0.1)
    assert "was not measured" in second_level_verdict(only)
    assert "was not measured" in choosing_verdict(only)


def test_a_level_that_was_left_did_not_pay():
    document = compared(pbe_alone_random=0.3)
    document["levels_left"] = [{"step": 2, "sentence": "gfn2 explains nothing."}]
    assert second_level_verdict(document) == (
        "What was learned left a level: gfn2 explains nothing."
    )


def test_what_the_campaign_judged_is_what_the_page_says(results):
    assert second_level_verdict(results) == (
        results["verdict"]["second_level"].replace("eV/A", "eV/Å")
    )
    assert "did not pay" in choosing_verdict(results)


def test_an_unfinished_campaign_says_so(results):
    results["finished"] = False
    assert bought(results).startswith("The campaign is not finished. So far, for 208")


def test_without_held_out_labels_the_leave_one_out_errors_are_told(results):
    results["evaluation"] = None
    results["learning_curve"][-1]["heldout"] = None
    loo = results["learning_curve"][-1]["loo"]
    said = reached(results)
    assert said.startswith("No held-out errors are known yet")
    low, high = loo["forces_mae_low"], loo["forces_mae_high"]
    assert f"{loo['forces_mae']:.3f}" in said
    assert f"({low:.3f} to {high:.3f})" in said


def test_before_the_end_the_held_out_errors_of_the_last_step_are_told(results):
    results["evaluation"], results["n_labels_outside"] = None, {"pbe": 40}
    said = reached(results)
    assert said.startswith("On 40 held-out pbe labels the potential errs on average by")
    found = results["learning_curve"][-1]["heldout"]["at_hand"]["forces"]["mae"]
    assert f"{found:.4f} eV/Å in forces" in said
    assert said.endswith("with gfn2 at hand, after the last step.")


def test_labels_outside_the_budget_are_not_invented(results):
    results["budget"]["outside"] = {}
    assert "outside" not in reached(results)


def test_labels_outside_the_budget_are_not_among_those_it_bought(results):
    within = bought(results)
    for level, number in (("gfn2", 40), ("pbe", 40)):
        results["n_labels"][level]["done"] += number
    assert bought(results) != within
    results["n_labels_outside"] = {"gfn2": 40, "pbe": 40}
    assert bought(results) == within


def batch(worth, bound, made=50, saved=150):
    return {
        "worth": worth,
        "upper_bound": bound,
        "evaluations": made,
        "evaluations_saved": saved,
    }


def test_the_certificate_is_that_of_the_worst_batch():
    said = batches({"batches": [batch(9.0, 10.0), batch(4.0, 5.0)]})
    assert said.startswith("Each of 2 batches is worth at least 80\u00a0% of the best")
    assert "75\u00a0% were not needed" in said


def test_batches_of_no_certificate_are_not_praised():
    assert "worth" not in batches({"batches": [batch(9.0, None)]})
    assert batches({}) == batches({"batches": [{}]}) == ""
