"""Small models fitted in both ways, for tests of what takes any fitted model: each is fitted once a process."""
from functools import lru_cache
from typing import NamedTuple
import numpy as np, pandas as pd, xarray as xr
from mrtl.designs import FieldDesign
from mrtl.estimators import MRTLClassifier, MRTLRegressor
from mrtl.simulate import simulate_field

WAYS = dict(gradients=dict(method='sgd', optimizer='sgd', max_epochs=4), evidence=dict(method='evidence'))
TARGETS = 'one', 'two', 'labels', 'counts', 'nothing'
CASES = [(way, target) for way in WAYS for target in TARGETS if (way, target) != ('gradients', 'nothing')]

class Fit(NamedTuple):
    "What a fitted model holds, and what it says of the rows that it was fitted to."
    factors:xr.Dataset
    history:pd.DataFrame
    levels:list
    coef:xr.DataArray
    std:xr.DataArray|None  # By evidence alone
    y:np.ndarray|xr.DataArray
    yhat:np.ndarray

@lru_cache
def _problem():
    "Fields of 70 times over 4 x 8 cells with two variables and two leads, and targets of every kind."
    sim = simulate_field(70, (4, 8), leads=2, variables=2, rank=1, seed=0)
    design = FieldDesign.from_xarray(sim.X, leads=2); noise = np.random.default_rng(0).normal(size=len(design))
    z = ((sim.y-sim.y.mean())/sim.y.std()).values[-len(design):]
    two = xr.DataArray(np.stack([z, .5*z+noise], 1), dims=('time', 'output'), coords=dict(output=['IA', 'OH']))
    return design,dict(one=z, two=two, labels=(z>0).astype(int), counts=np.round(np.exp(.7*z)), nothing=noise)

@lru_cache
def small_fit(way, target):
    "A fit of one target in one way."
    design,targets = _problem(); y = targets[target]
    make = MRTLClassifier if target == 'labels' else MRTLRegressor
    m = make(rank=2, **WAYS[way], **dict(loss='poisson') if target == 'counts' else {}).fit(design, y)
    yhat = m.predict_proba(design)[:,1] if target == 'labels' else np.asarray(m.predict(design))
    return Fit(m.factors_, m.history_, m.levels_, m.coef_, m.coef_std_ if way == 'evidence' else None, y, yhat)
