"""Which labels are likely wrong."""

from hashlib import sha256

import numpy as np
import pytest

from training.judging.label_errors import find_label_errors, out_of_fold


def groups(count: int) -> list[str]:
    return [sha256(str(number).encode()).hexdigest() for number in range(count)]


def test_an_image_that_looks_like_another_class_than_its_label_is_listed() -> None:
    probabilities = np.array([[0.9, 0.1], [0.8, 0.2], [0.1, 0.9], [0.2, 0.8], [0.05, 0.95]])
    (error,) = find_label_errors(probabilities, np.array([0, 0, 1, 1, 0]))
    assert (error.index, error.given, error.likelier, error.confident) == (4, 0, 1, True)
    assert error.probability == pytest.approx(0.95)
    assert error.margin == pytest.approx(-0.9)


def test_the_likeliest_error_comes_first() -> None:
    right = [[0.9, 0.1]] * 10 + [[0.1, 0.9]] * 10
    probabilities = np.array([*right, [0.05, 0.95], [0.02, 0.98]])
    errors = find_label_errors(probabilities, np.array([0] * 10 + [1] * 10 + [0, 0]))
    assert [error.index for error in errors] == [21, 20]


def test_an_image_counts_for_a_class_only_where_it_is_as_sure_as_is_usual_for_that_class() -> None:
    probabilities = np.array([[0.6, 0.4], [0.3, 0.7], [0.01, 0.99], [0.01, 0.99]])
    (error,) = find_label_errors(probabilities, np.array([0, 0, 1, 1]))
    assert (error.index, error.likelier, error.confident) == (1, 1, False)


def test_an_image_that_looks_like_its_label_is_not_listed_however_unsure() -> None:
    probabilities = np.array([[0.51, 0.49], [0.9, 0.1], [0.3, 0.7]])
    assert find_label_errors(probabilities, np.array([0, 0, 1])) == []


def test_a_class_without_images_is_nothing_to_be_confident_of() -> None:
    probabilities = np.array([[0.2, 0.1, 0.7], [0.1, 0.2, 0.7]])
    errors = find_label_errors(probabilities, np.array([0, 1]))
    assert not any(error.confident for error in errors)


def test_flipped_labels_of_separable_features_are_found_and_no_others() -> None:
    rng = np.random.default_rng(0)
    true = np.repeat(np.arange(3), 100)
    features = (rng.normal(size=(3, 20))[true] + 0.3 * rng.normal(size=(300, 20))).astype(
        np.float32
    )
    flipped = rng.choice(300, 12, replace=False)
    labels = true.copy()
    labels[flipped] = (labels[flipped] + 1) % 3
    errors = find_label_errors(out_of_fold(features, labels, groups(300)), labels)
    assert {error.index for error in errors} == set(flipped.tolist())
    assert all(error.likelier == true[error.index] for error in errors)


def test_an_image_is_judged_by_others_and_never_by_its_own_group() -> None:
    """One odd image is told right only by its twin: in its group it cannot, out of it it can."""
    rng = np.random.default_rng(0)
    labels = np.array([0] * 60 + [1] * 60 + [1, 1])
    features = rng.normal(size=(122, 4)).astype(np.float32)
    features[:, 0] = np.where(labels == 0, 5, -5)
    features[-2:] = [5, 0, 0, 30]
    apart = groups(122)
    apart[-2:] = ["00000000", "00000001"]
    together = [*apart[:-1], apart[-2]]
    alone = out_of_fold(features, labels, together)[-2:, 1]
    helped = out_of_fold(features, labels, apart)[-2:, 1]
    assert (alone < helped).all()


def test_probabilities_sum_to_one_and_a_class_unseen_in_a_fold_is_no_fault() -> None:
    rng = np.random.default_rng(0)
    labels = np.array([0] * 20 + [1] * 20 + [2])
    found = out_of_fold(rng.normal(size=(41, 5)).astype(np.float32), labels, groups(41))
    assert found.shape == (41, 3)
    np.testing.assert_allclose(found.sum(axis=1), 1)


def test_images_of_one_group_alone_cannot_be_judged() -> None:
    with pytest.raises(ValueError, match="too few to divide"):
        out_of_fold(np.zeros((4, 2), dtype=np.float32), np.array([0, 1, 0, 1]), ["00000000"] * 4)
