"""What a user writes, for the type checker alone: test_front.py runs mypy on this file, and nothing else runs it.
`assert_type` says what a call gives. An ignored error must be one."""
from pathlib import Path
from typing import Any, assert_type
import numpy as np
import pandas as pd
import xarray as xr
import mrtl
from mrtl import EventDesign, FieldDesign, Grid, MRTLClassifier, MRTLRegressor

def fields(path: Path, X: xr.DataArray, y: xr.DataArray) -> None:
    m = MRTLRegressor(rank=3, smooth=.1, schedule=[(4, 8), (8, 16)], method='sgd', random_state=0)
    assert_type(m.fit(X, y, groups=None, callbacks=()), MRTLRegressor)
    m.fit(X, y, sample_weight=np.ones(300), valid=(X, y))
    m.predict(X)
    m.predict(X, return_std=True)
    assert_type(m.score(X, y), float)
    assert_type(m.transform(X), np.ndarray | xr.DataArray)
    assert_type(m.factors_, xr.Dataset)
    assert_type(m.coef_, xr.DataArray)
    assert_type(m.coef_std_, xr.DataArray)
    print(m.history_, m.levels_, m.rank_)
    m.plot(); m.report(path/'page.html', X, y)
    m.save(path/'rain.mrtl')
    assert_type(MRTLRegressor.load(path/'rain.mrtl'), MRTLRegressor)

def designs(X: xr.DataArray, table: pd.DataFrame) -> None:
    grid = Grid((20, 25), y=(0, 50), x=(0, 47))
    fields = FieldDesign.from_xarray(X, leads=3)
    events = EventDesign.from_table(table, dict(player='player', court=('x', 'y')), dict(court=grid))
    print(grid.shape, fields, events, mrtl.bin_points(grid, table.y.values, table.x.values))
    for train, held in mrtl.BlockSplit(n_splits=5, gap='auto').split(X): print(train, held)

def events(design: EventDesign, goal: pd.Series) -> None:
    c = MRTLClassifier(rank=2, class_weight='balanced')
    assert_type(c.fit(design, goal), MRTLClassifier)
    assert_type(c.predict_proba(design), np.ndarray | tuple)

def simulated() -> None:
    assert_type(mrtl.simulate_field(n=300, shape=(8, 16), leads=3, seed=1), xr.Dataset)
    mrtl.simulate_events(n=1000, seed=0)

def shown(path: Path, m: MRTLRegressor, X: xr.DataArray, y: np.ndarray, factors: xr.Dataset, coef: xr.DataArray, history: pd.DataFrame) -> None:
    mrtl.factor_maps(factors); mrtl.coef_maps(coef, std=coef)
    mrtl.truth_maps(factors, factors); mrtl.loss_curve(history)
    assert_type(mrtl.block_bootstrap(m, X, y, blocks=np.arange(len(y))//12, n=5), xr.Dataset)
    assert_type(mrtl.write_report(path, 'Rain', factors=factors, history=history, levels=[], metrics={}, config={}),
                Path)

class Stop(mrtl.Callback):
    def after_epoch(self, trainer: Any) -> None: trainer.stop = True

def parts() -> None:
    mrtl.Smoothness(Grid((8, 16)), sigma=.1)
    try: MRTLRegressor(rank=0)
    except mrtl.MRTLError as e: print(e)

def mistakes() -> None:
    MRTLRegressor(rang=3)           # type: ignore[call-arg]
    MRTLRegressor(max_epochs='all') # type: ignore[arg-type]
    mrtl.simulate_field(shape=8)    # type: ignore[arg-type]
    mrtl.Smoothness(grid=3)         # type: ignore[arg-type]
    mrtl.MRTLRegresor               # type: ignore[attr-defined]
    MRTLRegressor().predicts        # type: ignore[attr-defined]
