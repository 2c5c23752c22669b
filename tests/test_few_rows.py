"""Few rows, and counts that vary more than Poisson's: noise does not vanish, and intervals hold what they say."""
import numpy as np, pandas as pd, pytest
from mrtl.estimators import MRTLRegressor
from mrtl.events import EventDesign
from mrtl.evidence.prior import Evidence, FeaturePrior
from mrtl.evidence.ladder import Sizes

def dry(seed, n=28, leads=6):
    "Independent months of a smooth field; half of the variance of the target is noise."
    r = np.random.default_rng(seed); X = r.normal(size=(n+60,leads,5,6)); X += np.roll(X, 1, -1)+np.roll(X, 1, -2)
    s = X[:,1,1:4,2:5].sum((1,2)); return X,s/s.std()+r.normal(size=n+60),n

def test_noise_does_not_vanish_and_intervals_hold():
    held,noise = [],[]
    for seed in range(4):
        X,y,n = dry(seed)
        with pytest.warns(UserWarning, match='28 rows are few for evidence'):
            m = MRTLRegressor(method='evidence').fit(X[:n], y[:n])
        mean,std = m.predict(X[n:], return_std=True)
        held.append((abs(y[n:]-mean)<1.96*std).mean()); noise += [l['noise'] for l in m.levels_]
    assert np.mean(held)>.85 and min(held)>.65 and min(noise)>.01

@pytest.mark.parametrize('prior', [FeaturePrior(3, 2, 'apart'), FeaturePrior(3, 2, 'lagged'), Sizes()])
def test_what_is_believed_has_its_slope(prior):
    x = np.random.default_rng(0).normal(size=5)
    far = [(prior.known(x+1e-6*e)[0]-prior.known(x-1e-6*e)[0])/2e-6 for e in np.eye(5)]
    np.testing.assert_allclose(prior.known(x)[1], far, atol=1e-7); assert prior.known(0*x)[0]==0<prior.known(x)[0]

def counts(seed, k):
    r = np.random.default_rng(seed); X = r.normal(size=(250,4,6)); z = r.permutation(np.arange(250)%2)
    mean = 15*np.exp(.4*X[:,1:3,2:4].mean((1,2))+.3*z); return X,r.poisson(mean*(r.gamma(k, 1/k, 250) if k else 1)),z

@pytest.mark.parametrize('k', [0, 3])
def test_counts_that_vary_more(k, tmp_path):
    X,y,z = counts(1, k); Z = pd.DataFrame(dict(sprayed=z))
    m = MRTLRegressor(loss='poisson', method='evidence').fit(X[:150], y[:150], covariates=Z[:150])
    p,std = m.predict(X[150:], covariates=Z[150:], return_std=True); held = (abs(y[150:]-p)<1.96*std).mean()
    c = m.covariates_; assert held>.88 and abs(float(c.coef[0])-.3)<2.5*float(c['std'][0])
    assert m.dispersion_[0]==1 if k==0 else 3<m.dispersion_[0]<12
    m.save(tmp_path/'m.mrtl'); again = MRTLRegressor.load(tmp_path/'m.mrtl')
    np.testing.assert_array_equal(again.dispersion_, m.dispersion_)
    np.testing.assert_allclose(again.predict(X[150:], covariates=Z[150:], return_std=True)[1], std, rtol=1e-8)

@pytest.mark.parametrize('k', [0, 2])
def test_sums_of_terms_know_how_much_counts_vary(k):
    "The standard deviation of a covariate is that of a quasi-Poisson regression on the same names."
    for seed in range(3):
        r = np.random.default_rng(seed); who,wet = r.integers(5, size=400),r.permutation(np.arange(400)%2)
        mean = 12*np.exp(.3*(who-2)/2+.3*wet); y = r.poisson(mean*(r.gamma(k, 1/k, 400) if k else 1))
        d = EventDesign.from_table(pd.DataFrame(dict(who=who)), dict(who='who'), {}, dict(who=True))
        table = pd.DataFrame(dict(wet=wet))
        m = MRTLRegressor(loss='poisson', terms=['who'], random_state=0).fit(d, y, covariates=table)
        Z = np.column_stack([np.eye(5)[who], wet]); b = np.r_[np.full(5, np.log(y.mean())), 0.]
        for _ in range(30): mu = np.exp(Z@b); H = Z.T@(Z*mu[:,None]); b = b+np.linalg.solve(H, Z.T@(y-mu))
        phi = ((y-mu)**2/mu).sum()/(400-6); std = np.sqrt(np.linalg.inv(H)[5,5]*(phi if k else 1))
        assert .9 < float(m.covariates_['std'][0])/std < 1.35 and abs(float(m.covariates_.coef[0])-b[5]) < std
        assert m.dispersion_[0] == (1 if k == 0 else pytest.approx(phi, rel=.2))
