"""Bad input gets a named error that says what was wrong, what was given and what to do; odd input that is fine
works, and survives saving."""
import json, os, signal
import numpy as np
import pandas as pd
import pytest
import torch
import xarray as xr
from sklearn.exceptions import NotFittedError
from mrtl.events import EventDesign
from mrtl.designs import FieldDesign, Mode
from mrtl.demo import KeepMaps
from mrtl.cli import main
from mrtl.folders import seal
from mrtl.runs import open_run
from mrtl.core import ConfigError, DataError, FormatError, MRTLError, ScheduleError, generator
from mrtl.estimators import MRTLClassifier, MRTLRegressor
from mrtl.grids import Grid
from mrtl.training import Callback
from mrtl.store import load_tensors

RNG = np.random.default_rng(0)
X2,X4 = RNG.normal(size=(40, 6)),RNG.normal(size=(40, 2, 4, 6))
Y = X4.mean((2, 3))[:,0]*5+.1*RNG.normal(size=40); LABEL = (Y > 0).astype(int)
DA = xr.DataArray(X4, dims=('time','variable','lat','lon'),
                  coords=dict(time=pd.date_range('1950-01', periods=40, freq='MS'), variable=['sst','slp'],
                              lat=np.arange(-15., 25, 10), lon=np.arange(185., 245, 10)))
YA = xr.DataArray(Y, dims='time', coords=dict(time=DA.time))
TABLE = pd.DataFrame(dict(player=RNG.integers(5, size=260), x=RNG.uniform(0, 10, 260), y=RNG.uniform(0, 8, 260),
                          **{f'{c}{i}': np.where(RNG.random(260) < .4, RNG.uniform(0, 4, 260), np.nan)
                             for i in range(1, 6) for c in 'xy'}))
TABLE['label'] = (RNG.random(260) < 1/(1+np.exp(TABLE.player+.3*TABLE.y-4))).astype(int)
EVENTS = EventDesign.from_table(TABLE,
                                dict(player='player', court=('x','y'),
                                     defender=[(f'x{i}', f'y{i}') for i in range(1, 6)]),
                                dict(court=Grid((8,10)), defender=Grid((4,4))), dict(player=True))
SHOTS = TABLE.label.values

def changed(v, at, value): v = v.copy(); v[at] = value; return v
# few rows would be fitted by L-BFGS, in a second or two
def quick(cls=MRTLRegressor, **kw): return cls(**dict(dict(rank=2, max_epochs=3, optimizer='adamw'), **kw))

def refused(error, text, f):
    "Fails unless `f` raises just this error, in words, and not on the way from a torch error."
    with pytest.raises(error, match=text) as e: f()
    assert isinstance(e.value, ValueError) and not isinstance(e.value.__cause__,
            RuntimeError) and '\n  File' not in str(e.value)
    if issubclass(error, MRTLError): assert len(str(e.value)) > 25

# ---- data

@pytest.mark.parametrize('bad', [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize('make', [lambda v: changed(X2, (3,1), v), lambda v: changed(X4, (3,1,2,2), v)])
def test_not_finite_arrays(make, bad):
    for m,y in (quick(), Y), (quick(MRTLClassifier), LABEL):
        refused(ValueError, 'NaN|infinity', lambda: m.fit(make(bad), y))
        refused(ValueError, 'NaN|infinity', lambda: m.fit(X2 if make(bad).ndim == 2 else X4, y).predict(make(bad)))

@pytest.mark.parametrize('bad', [np.nan, np.inf])
@pytest.mark.parametrize('X', [X2, X4, DA, FieldDesign(torch.from_numpy(X4), Grid((4,6)))])
def test_not_finite_targets(X, bad):
    for y in changed(Y, 3, bad), YA.copy(data=changed(Y, 3, bad)):
        refused(ValueError, 'y contains (NaN|infinity)', lambda: quick().fit(X, y))
    refused(ValueError, 'y contains (NaN|infinity)',
            lambda: quick(MRTLClassifier).fit(X, changed(LABEL.astype(float), 3, bad)))
    refused(ValueError, 'y contains infinity', lambda: quick().fit(X, changed(np.stack([Y, Y], 1), (3, 0), np.inf)))

@pytest.mark.parametrize('cls,y', [(MRTLRegressor, Y), (MRTLClassifier, LABEL)])
def test_too_few_samples(cls, y):
    for X in X2,X4:
        refused(ValueError, r'0 sample\(s\)', lambda: quick(cls).fit(X[:0], y[:0]))
        refused(ValueError, 'n_samples = 1|1 sample', lambda: quick(cls).fit(X[:1], y[:1]))
    d = FieldDesign(torch.from_numpy(X4), Grid((4,6)))
    for X in DA,d,EVENTS:
        some = lambda n: X[:n] if X is DA else X.take(np.arange(n))
        if X is d: refused(DataError, 'no sample: give at least one row', lambda: quick(cls).fit(some(0), y[:0]))
        refused(DataError, 'at least 2 samples', lambda: quick(cls).fit(some(1), y[:1]))
    refused(DataError, 'no sample', lambda: quick(cls).fit(DA, y).predict(DA[:0]))
    refused(ValueError, '0 feature', lambda: quick(cls).fit(X2[:, :0], y))

def test_targets_that_do_not_fit():
    for X in DA,FieldDesign(torch.from_numpy(X4), Grid((4,6))):
        refused(DataError, r'\(40,\) or \(40, outputs\) for 40 samples; got \(39,\)', lambda: quick().fit(X, Y[:-1]))
        refused(DataError, 'y is needed', lambda: quick().fit(X, None))
        refused(DataError, 'label per sample', lambda: quick(MRTLClassifier).fit(X, LABEL[:-1]))
        refused(DataError, 'got', lambda: quick().fit(X, np.zeros((40, 2, 2))))
    refused(DataError, 'same time, value by value.*keep those that both have',
            lambda: quick().fit(DA, YA.assign_coords(time=YA.time+np.timedelta64(9, 'D'))))
    assert quick().fit(DA, YA[::-1]).score(DA, YA)==quick().fit(DA, YA).score(DA, YA)
    refused(DataError, 'output 1 has no observed value.*leave it out',
            lambda: quick().fit(X4, np.stack([Y, Y*np.nan], 1)))
    refused(DataError, "loss='poisson' needs y >= 0", lambda: quick(loss='poisson').fit(X2, Y))
    with pytest.raises(ValueError): quick().fit(X2, ['a']*40)

@pytest.mark.parametrize('X', [X2, X4, DA])
def test_classes(X):
    refused(ValueError, 'one class', lambda: quick(MRTLClassifier).fit(X, LABEL*0))
    refused(ValueError, 'Unknown label type|continuous', lambda: quick(MRTLClassifier).fit(X, Y))
    refused(DataError, 'validation labels must be', lambda: quick(MRTLClassifier).fit(X, LABEL, valid=(X, LABEL+1)))
    for bad in 'even', 3, [1, 2]:
        refused(ConfigError, "None, 'balanced' or a dict",
                lambda: quick(MRTLClassifier, class_weight=bad).fit(X, LABEL))
    refused(DataError, 'one class only', lambda: quick(MRTLClassifier).fit(X, LABEL, sample_weight=(LABEL == 1)*1.))

@pytest.mark.parametrize('n', [40, 300])
@pytest.mark.parametrize('value', [0., -3.5, 1e6])
def test_constant_target_is_predicted(n, value):
    X = RNG.normal(size=(n, 2, 4, 6)); m = quick(optimizer='auto').fit(X, np.full(n, value))
    np.testing.assert_allclose(m.predict(X), value, rtol=1e-9, atol=1e-9 if n < 200 else 1e-5)
    assert np.isfinite(m.coef_).all() and m.levels_[-1]['best_loss'] < 1e-12
    two = quick(optimizer='auto').fit(X, np.stack([np.full(n, value), X[:,0].mean((1,2))], 1)).predict(X)
    assert np.abs(two[:,0]-value).max() < 1e-3*max(1, abs(value))*(n == 300)+1e-6*max(1, abs(value))

def test_constant_inputs_are_harmless():
    m = quick().fit(np.ones((40, 2, 4, 6)), Y); np.testing.assert_allclose(m.predict(np.ones((3, 2, 4, 6))), Y.mean())
    X = X4.copy(); X[:,1] = 7.; assert np.isfinite(quick().fit(X, Y).predict(X)).all()

# ---- options

def test_full_part_beyond_memory():
    g = Grid((400,500))
    d = EventDesign(dict(p=[[0], [1]], court=[[3], [4]], defender=[[5], [6]]),
                    [Mode('p', 500, indexed=True), Mode('court', g.D, g, True), Mode('defender', g.D, g, True)])
    s = [dict(court=(4,5), defender=(4,5)), dict(court=(400,500), defender=(400,500))]
    refused(ScheduleError, r"20,000,000,000,000 full-rank weights at 400x500, 400x500 takes about .* GiB, more than half of this machine's memory.*full_levels=1", lambda: quick(MRTLClassifier, schedule=s, full_levels=2).fit(d, [0, 1]))

# ---- prediction

@pytest.mark.parametrize('cls,y', [(MRTLRegressor, Y), (MRTLClassifier, LABEL)])
def test_wrong_shape_at_predict(cls, y):
    m2,m4,ma = (quick(cls).fit(X, y) for X in (X2, X4, DA))
    refused(ValueError, 'X has 5 features, but .* is expecting 6', lambda: m2.predict(X2[:, :5]))
    for X in X4[..., :5],X4[:, :, :3],X4[:, :, None]:
        refused(DataError, r'fitted on \(2, 4, 6\)', lambda: m4.predict(X))
    for X in X4[:, :1],X4[:, 0],X4.reshape(40, -1):
        refused(ValueError, r'fitted on|is expecting 2', lambda: m4.predict(X))
    refused(DataError, r'grid.*4x6.*got 4x5 cells.*regrid it first', lambda: ma.predict(DA[..., :5]))
    refused(DataError, r'lat -10', lambda: ma.predict(DA.assign_coords(lat=DA.lat+5)))
    refused(DataError, 'modes', lambda: ma.predict(DA[:, :1]))
    refused(DataError, 'modes', lambda: ma.predict(DA[:, 0]))
    refused(DataError, 'modes', lambda: ma.predict(DA.rename(variable='layer')))
    refused(DataError, 'sample dimension', lambda: ma.predict(DA[0, 0]))
    refused(DataError, 'modes.*fitted on', lambda: ma.predict(EVENTS))
    refused(DataError, 'modes variable.*fitted on feature', lambda: m4.predict(DA))
    for name in ('predict','transform','save'):
        with pytest.raises(NotFittedError): getattr(quick(cls), name)(X2)

def test_other_events_at_predict():
    m = quick(MRTLClassifier).fit(EVENTS, SHOTS)
    fewer = EventDesign.from_table(TABLE[TABLE.player < 3],
                                   dict(player='player', court=('x','y'), defender=[('x1','y1')]),
                                   dict(court=Grid((8,10)), defender=Grid((4,4))), dict(player=True))
    same = EventDesign.from_table(TABLE[TABLE.player < 3],
                                  dict(player='player', court=('x','y'), defender=[('x1','y1')]),
                                  dict(court=Grid((8,10)), defender=Grid((4,4))), dict(player=list(range(5))))
    np.testing.assert_array_equal(m.predict_proba(fewer), m.predict_proba(same)) # fewer players are found by name
    refused(DataError, 'labels 7, but',
            lambda: m.predict(EventDesign.from_table(TABLE.assign(player=7),
            dict(player='player', court=('x','y'), defender=[('x1','y1')]),
            dict(court=Grid((8,10)), defender=Grid((4,4))), dict(player=True))))
    t = TABLE.assign(x=lambda t: t.x.where(t.index != 2, 99.))
    refused(DataError, '1 of 260 points lie outside', lambda: EventDesign.from_table(t, dict(court=('x','y')),
            dict(court=Grid((8,10)))))
    refused(DataError, 'no column z; it has player', lambda: EventDesign.from_table(TABLE, dict(court=('x','z')),
            dict(court=Grid((8,10)))))
    refused(DataError, 'needs a Grid', lambda: EventDesign.from_table(TABLE, dict(court=('x','y'))))
    refused(DataError, 'missing labels',
            lambda: EventDesign.from_table(TABLE.assign(player=TABLE.player.where(TABLE.player > 0)),
                                           dict(player='player'), labels=dict(player=True)))
    refused(DataError, 'same number of samples',
            lambda: EventDesign(dict(a=[[0]], b=[[0], [1]]), [Mode('a', 1, indexed=True), Mode('b', 2, indexed=True)]))
    refused(DataError, 'indices of a must lie in 0..1',
            lambda: EventDesign(dict(a=[[2]]), [Mode('a', 2, indexed=True)]))

# ---- coordinates

def test_descending_latitude_and_longitude_is_the_same():
    m = quick().fit(DA, YA); want = m.predict(DA)
    for flipped in DA[:, :, ::-1],DA[..., ::-1],DA[:, :, ::-1, ::-1]:
        xr.testing.assert_allclose(m.predict(flipped), want)
        again = quick().fit(flipped, YA)
        xr.testing.assert_allclose(again.predict(DA), want)
        xr.testing.assert_allclose(again.coef_, m.coef_)

@pytest.mark.parametrize('lon', [[330, 340, 350, 0, 10, 20], [150, 160, 170, -180, -170, -160]])
def test_longitudes_may_jump(lon):
    X = DA.assign_coords(lon=np.asarray(lon, float)); m = quick().fit(X, YA)
    assert (np.diff(m.factors_.lon) == 10).all()
    np.testing.assert_allclose(m.predict(X), quick().fit(DA, YA).predict(DA), atol=1e-6)

def test_land_is_left_out():
    X = DA.copy(); X[:, 1, 2, 2:4] = np.nan; m = quick().fit(X, YA)
    assert m.coef_.isnull().sum() == 4 and bool(m.coef_[:, 2,
            2:4].isnull().all()) and m.factors_.space.isnull().any('component').sum() == 2
    xr.testing.assert_allclose(m.predict(X), m.predict(X.fillna(99.)))

# ---- files and folders

def test_output_folder_of_another_run(tmp_path, capsys):
    out = tmp_path/'run'; config = dict(command='demo', seed=1, lr=.1, shapes=(2, 3))
    assert open_run(out, config, False, False) and json.loads((out/'config.json').read_text())['shapes'] == [2, 3]
    refused(ConfigError, 'very run already: add --resume.*--overwrite', lambda: open_run(out, config, False, False))
    for resume in False,True:
        refused(ConfigError, 'cannot be used: it holds a run with another seed; name another folder',
                lambda: open_run(out, config|dict(seed=2), resume, True))
    refused(ConfigError, 'another lr, more',
            lambda: open_run(out, {k: v for k,v in config.items() if k != 'lr'}|dict(more=1), True, False))
    assert open_run(out, config, True, False)
    (out/'metrics.json').write_text('{}')
    (out/'checkpoint.mrtl').write_text('')
    seal(out, ['metrics.json'], True)
    assert not open_run(out, config, True, False) and open_run(out, config, False,
            True) and not (out/'metrics.json').exists() and not (out/'checkpoint.mrtl').exists()
    refused(ConfigError, 'is a file', lambda: open_run(out/'config.json', config, False, False))
    (out/'config.json').write_text('{'); refused(FormatError, 'config.json', lambda: open_run(out, config, True, False))
    (tmp_path/'other').mkdir(); (tmp_path/'other'/'thesis.tex').write_text('x')
    refused(ConfigError, 'holds no run of mrtl', lambda: open_run(tmp_path/'other', config, False, True))
    assert (tmp_path/'other'/'thesis.tex').exists()
    assert main(['demo', '--out', str(tmp_path/'other')]) == 2; err = capsys.readouterr().err
    assert (err.startswith('mrtl: --out') and 'holds no run of mrtl' in err and 'Traceback' not in err
            and not (tmp_path/'other'/'config.json').exists())

def test_truncated_ocean_on_the_command_line(tmp_path, capsys):
    DA.to_dataset('variable').to_netcdf(tmp_path/'whole.nc')
    whole = (tmp_path/'whole.nc').read_bytes()
    (tmp_path/'cut.nc').write_bytes(whole[:len(whole)//2])
    assert main(['climate', '--ocean', str(tmp_path/'cut.nc'), '--rain', str(tmp_path/'whole.nc'), '--out',
                 str(tmp_path/'o')]) == 2
    assert 'cut.nc' in (err := capsys.readouterr().err) and 'Traceback' not in err and not (tmp_path/'o').exists()

def test_ctrl_c_on_the_command_line(tmp_path, monkeypatch, capsys):
    def after_epoch(self, trainer):
        if (trainer.stage, trainer.epoch) == ('full', 2): os.kill(os.getpid(), signal.SIGINT)
    monkeypatch.setattr(KeepMaps, 'after_epoch', after_epoch)
    assert main(['demo', '--out', str(tmp_path/'run'), '--n', '400']) == 130
    assert ('the state is in' in (err := capsys.readouterr().err) and '--resume goes on' in err
            and 'Traceback' not in err)
    _,meta = load_tensors(tmp_path/'run'/'checkpoint.mrtl')
    assert meta['trainer']['epoch'] == 2 and not (tmp_path/'run'/'metrics.json').exists()
    assert main(['demo', '--out', str(tmp_path/'run'), '--n', '400', '--seed', '3',
                 '--resume']) == 2 and 'another seed' in capsys.readouterr().err

def test_the_rest_of_the_list_is_tested_elsewhere(root):
    "Files and months are the business of the fields and climate pages."
    text = ''.join((root/'tests'/f'test_{n}.py').read_text() for n in ('fields','climate','promises'))
    for what in 'test_truncated_files','test_unsorted_times_are_sorted','give monthly means','no target month has','no variable so in the files','no valid cell','test_damaged_model_files_are_refused','test_ctrl_c_leaves_a_checkpoint':
        assert what in text, what

# ---- what is fine, and comes back from a file

D4 = FieldDesign.from_xarray(DA, dtype=torch.float64)
BIG = np.tile(X4, (6,1,1,1))+.1*RNG.normal(size=(240,2,4,6))
BY = BIG[:,0].mean((1,2))*5
WINDOWED = FieldDesign(torch.from_numpy(BIG[:, :, :, :4].copy()),
                       Grid((4,4), (-20, 20), (0, 40), ('lat','lon'), True), ('variable',),
                       dict(variable=['a','b']), leads=3)
TWO = changed(np.stack([BY, -BY+BIG[:,1].mean((1,2))], 1), (slice(0, 240, 7), 1), np.nan)
COUNTS = np.random.default_rng(1).poisson(np.exp(np.clip(BY, -3, 2)))
R,C = MRTLRegressor,MRTLClassifier
FINE = dict(
    plain=(R(), X2, Y, {}), fields=(R(), BIG, BY, {}), labelled=(R(), DA, YA, {}),
    windowed=(R(), WINDOWED, BY[3:], {}), outputs_with_gaps=(R(), BIG, TWO, {}),
    small_outputs_with_gaps=(R(), X4, TWO[:40], {}),
    labelled_outputs=(R(), DA, xr.DataArray(TWO[:40], dims=('time','output'),
                                            coords=dict(time=DA.time, output=['north','south'])), {}),
    weighted=(R(), BIG, BY, dict(sample_weight=np.linspace(.1, 3, 240))), poisson=(R(loss='poisson'), BIG, COUNTS, {}),
    two_counts=(R(loss='poisson'), BIG, np.stack([COUNTS, COUNTS], 1), {}),
    costs=(C(class_weight={0: 1., 1: 4.}), BIG, BY > 0, {}),
    balanced=(C(class_weight='balanced'), BIG, np.where(BY > .5, 'wet', 'dry'), {}),
    positive=(R(nonnegative=('space',)), BIG, BY, {}),
    small_positive=(R(nonnegative=('space',)), X4, Y, {}), events=(C(), EVENTS, SHOTS, {}),
    main_effects=(C(main_effects=True, nonnegative=('player','court')), EVENTS, SHOTS, {}),
    event_outputs=(R(main_effects=True), EVENTS, np.stack([SHOTS, 1-SHOTS], 1)*1., {}),
    groups=(R(), BIG, BY, dict(groups=np.arange(240)//30)),
    given=(R(), BIG[:200], BY[:200], dict(valid=(BIG[200:], BY[200:], np.ones(40)))),
    sgd=(R(optimizer='sgd', lr=.1), BIG, BY, {}), lbfgs=(R(optimizer='lbfgs'), BIG, BY, {}),
    float64=(R(dtype='float64'), BIG, BY, {}),
    random=(R(init='random'), BIG, BY, {}), exponential=(R(kernel='exponential', l1=1e-3, finegrain='bilinear'),
        BIG, BY, {}), steps=(C(schedule=[dict(court=(4,5), defender=(2,2)), dict(court=(8,10), defender=(4,4))],
                               full_levels=2), EVENTS, SHOTS, {}), coarse=(R(schedule=[(2,3)]), BIG, BY, {}),
    **{c: (R(criterion=c, consecutive=True), BIG, BY, {})
       for c in ('valid_loss','grad_norm','grad_variance','grad_entropy')})

@pytest.mark.parametrize('name', FINE)
def test_fitted_saved_and_loaded(name, tmp_path):
    m,X,y,kw = FINE[name]
    m = type(m)(**m.get_params()|dict(rank=2, max_epochs=4)).fit(X, y, **kw)
    assert m.n_iter_ > 0
    m.save(tmp_path/'m.mrtl'); again = type(m).load(tmp_path/'m.mrtl'); n = len(X)
    f = 'predict_proba' if isinstance(m, MRTLClassifier) else 'predict'; p = np.asarray(getattr(m, f)(X))
    assert p.shape == (n, *((2,) if f == 'predict_proba' else np.shape(y)[1:])) and np.isfinite(p).all() and p.std() > 0
    assert np.array_equal(p, np.asarray(getattr(again, f)(X))) and np.array_equal(np.asarray(m.predict(X)),
            np.asarray(again.predict(X))) and np.array_equal(np.asarray(m.transform(X)), np.asarray(again.transform(X)))
    xr.testing.assert_identical(m.factors_, again.factors_)
    xr.testing.assert_identical(m.coef_, again.coef_)
    pd.testing.assert_frame_equal(m.history_, again.history_, check_dtype=False)
    assert again.levels_ == json.loads(json.dumps(m.levels_)) and again.score(X, np.asarray(y)) == m.score(X,
            np.asarray(y)) and (name == 'costs' or repr(again.get_params()) == repr(m.get_params()))
    assert (np.diff(np.abs(m.factors_.strength.values)) <= 0).all()
    if name == 'costs': return
    # a loaded model fits again, to the same bits
    again.fit(X, y, **kw); np.testing.assert_array_equal(np.asarray(again.predict(X)), np.asarray(m.predict(X)))
    if len(m.nonnegative) == 1: assert (m.factors_[m.nonnegative[0]] >= 0).all()

def test_what_the_options_mean():
    fit = lambda name, **kw: (lambda m, X, y,
                              k: type(m)(**m.get_params()|dict(rank=2, max_epochs=30)|kw).fit(X, y, **k))(*FINE[name])
    seen = np.isfinite(TWO)
    m = fit('outputs_with_gaps', max_epochs=100)
    assert m.score(BIG, TWO) > .9 and m.predict(BIG).shape == TWO.shape
    assert np.corrcoef(m.predict(BIG)[:,1][seen[:,1]], TWO[:,1][seen[:,1]])[0,1] > .95
    assert (fit('poisson').predict(BIG) > 0).all()
    rate,cost,fair = (fit('costs', class_weight=w).predict_proba(BIG)[:,1].mean()
                      for w in (None, {0: 1., 1: 4.}, 'balanced'))
    assert cost > rate+.01 and abs(fair-rate) < .1  # a cost shifts the odds, balancing is corrected for
    f = fit('main_effects').factors_
    assert ({'main_player','main_court','main_defender','player_loading','court','defender'} <= set(f)
            and f.main_player.dims == ('player','output'))
    one = fit('weighted').predict(BIG); X,y = np.r_[BIG, BIG],np.r_[BY, BY]
    assert (not np.array_equal(one, fit('fields').predict(BIG))
            and list(fit('labelled_outputs').predict(DA).output.values) == ['north','south'])
    small = MRTLRegressor(rank=2, method='sgd'); w = np.r_[np.full(20, 2.), np.ones(20)]
    # a weight of two is a sample twice
    np.testing.assert_allclose(small.fit(X4, Y, sample_weight=w).predict(X4),
                               small.fit(np.r_[X4[:20], X4], np.r_[Y[:20], Y]).predict(X4), atol=1e-5)
    assert {l['stage'] for l in fit('random').levels_} == {'low'}

# ---- slips of the keyboard, and data that almost fit

def fails_by_name(f, error=MRTLError):
    with pytest.raises(error): f()

def test_constrained_factors_stay_above_zero():
    m,X,y,kw = FINE['main_effects']; m = C(rank=2, max_epochs=4, nonnegative=m.nonnegative).fit(X, y)
    assert (m.factors_.player_loading >= 0).all() and (m.factors_.court
            >= 0).all() and all((m.fitted_.low.factors[i] >= 0).all() for i in (0, 1))

def test_no_rows_taken(): assert len(D4.take([])) == len(EVENTS.take([])) == 0

def test_costs_survive_saving(tmp_path):
    C(class_weight={0: 1., 1: 4.}, max_epochs=1).fit(X4, LABEL).save(tmp_path/'m')
    assert C.load(tmp_path/'m').class_weight == {0: 1., 1: 4.}

def test_longitudes_from_the_other_side():
    m = quick().fit(DA, Y)
    np.testing.assert_allclose(m.predict(DA.assign_coords(lon=DA.lon-360)), m.predict(DA))

def test_labels_may_be_dates(tmp_path):
    quick().fit(DA.assign_coords(variable=pd.date_range('2000', periods=2)), Y).save(tmp_path/'m')

def test_random_state_may_be_a_generator(tmp_path):
    quick(random_state=np.random.RandomState(0)).fit(X4, Y).save(tmp_path/'m')
    R.load(tmp_path/'m').fit(X4, Y)

def test_ctrl_c_in_the_first_level_of_lbfgs(tmp_path):
    class Stop(Callback):
        def after_epoch(self, trainer): os.kill(os.getpid(), signal.SIGINT)
    with pytest.raises(KeyboardInterrupt) as e: quick(checkpoint=tmp_path/'ck').fit(X4, Y, callbacks=[Stop()])
    assert (tmp_path/'ck').exists() == ('the state is in' in str(e.value))
