"scikit-learn's own checks of an estimator, all of them, on both estimators with default arguments (but fewer epochs where a check comes again with another kind of array), and on the evidence method once a check."
import pytest
from sklearn.base import clone, is_classifier, is_regressor
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.datasets import make_classification, make_regression
from sklearn.utils.estimator_checks import check_regressor_data_not_an_array, parametrize_with_checks
from mrtl.estimators import MRTLClassifier, MRTLRegressor

def known(estimator): return dict(check_sample_weight_equivalence_on_dense_data="its folds are drawn by rows (and weights of a squared loss are relative precisions), so a row of weight 2 is not two rows") if getattr(estimator, 'method', '')=='evidence' else {}

@parametrize_with_checks([MRTLRegressor(), MRTLClassifier(), MRTLRegressor(method='evidence'), MRTLClassifier(method='evidence')], expected_failed_checks=known)
def test_check(estimator, check):
    if again := check.keywords or check.func is check_regressor_data_not_an_array: estimator = clone(estimator).set_params(max_epochs=20, lr=.05)
    if again and estimator.method == 'evidence': pytest.skip('evidence never sees the arrays that came in')
    check(estimator)

def test_kinds(): assert is_regressor(MRTLRegressor()) and is_classifier(MRTLClassifier()) and MRTLClassifier().__sklearn_tags__().classifier_tags.multi_class

def test_searched_and_piped():
    X,y = make_regression(120, 8, noise=1., random_state=0)
    found = GridSearchCV(make_pipeline(StandardScaler(), MRTLRegressor(rank=1)), dict(mrtlregressor__l2=[1e-3, 1e3]), cv=2).fit(X, y)
    assert found.best_params_ == dict(mrtlregressor__l2=1e-3) and found.best_score_ > .95
    X,y = make_classification(120, 8, class_sep=2., random_state=0)
    assert cross_val_score(MRTLClassifier(rank=1), X, y, cv=2).mean() > .85

def test_clones_are_unfitted_twins():
    m = MRTLRegressor(rank=3, schedule=[(1, 2), (1, 4)], nonnegative=('space',), sigma=.1); c = clone(m)
    assert c is not m and c.get_params() == m.get_params() and repr(c) == repr(m)
