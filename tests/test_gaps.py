"Gaps: which cells are land, how missing values are filled, and that only training rows are asked."
import numpy as np, pandas as pd, pytest, torch, xarray as xr
from mrtl import FieldDesign, Grid, MRTLClassifier, MRTLRegressor
from mrtl.core import ConfigError, DataError, FormatError
from mrtl.events import EventDesign
from mrtl.gaps import Columns, conditional, expected, learn_gaps, observed, on_mask, units_of
from mrtl.store import load_tensors, save_tensors

HOW = 'climatology','conditional'
QUICK = dict(sgd=dict(method='sgd', rank=2, max_epochs=1, schedule=[(2,3),(4,6)], full_levels=1),
             evidence=dict(method='evidence', rank=2))

def fields(n=60, k=2, noise=.2, seed=0, shape=(4,6)):
    "Fields of a few components, with the map's score as target."
    rng = np.random.default_rng(seed); V = rng.normal(size=(k,*shape))
    X = np.tensordot(rng.normal(size=(n,k)), V, 1)+noise*rng.normal(size=(n,*shape))+7
    da = xr.DataArray(X, dims=('time','lat','lon'),
                      coords=dict(lat=np.linspace(-60, 60, shape[0]), lon=np.arange(shape[1])*10.))
    return da,(X*V[0]).mean((1,2))

def holes(da, share=.3, seed=1): return da.where(np.random.default_rng(seed).random(da.shape)>share)

DA,Y = fields(); GAPS = holes(DA)

def oracle(W, mu, noise, x):
    "The conditional mean by the whole covariance of the cells."
    C = W@W.T+noise*np.eye(len(W)); there = np.isfinite(x); o = x.copy()
    o[~there] = mu[~there]+C[np.ix_(~there, there)]@np.linalg.solve(C[np.ix_(there, there)], (x-mu)[there]); return o

def test_conditional_means_are_those_of_the_whole_covariance():
    d = FieldDesign.from_xarray(GAPS, dtype=torch.float64, missing='keep'); g = conditional(d, observed(d, None))
    unit = units_of(g).numpy().ravel(); L = g.loadings.numpy().reshape(24, -1); x = GAPS.values[:5].reshape(5, 24)
    want = [oracle(L[:,1:], L[:,0], g.noise, (v-g.mean.numpy().ravel())/unit)*unit+g.mean.numpy().ravel() for v in x]
    got = expected(g, torch.from_numpy(x.reshape(5,4,6))).numpy().reshape(5, 24)
    np.testing.assert_allclose(np.where(np.isnan(x), got, x), want, atol=1e-9)
    f = g(d); share = d.grid.share.numpy()
    np.testing.assert_allclose((f.u.numpy()[:5]/share).reshape(5, 24), want, atol=1e-9)

def test_hidden_values_come_back():
    off = {}
    for how in HOW:
        d = FieldDesign.from_xarray(GAPS, dtype=torch.float64, missing='keep')
        _,f = learn_gaps(how, d, np.ones(60, bool))
        at = np.isnan(GAPS.values); off[how] = np.sqrt((((f.u/d.grid.share).numpy()-DA.values)[at]**2).mean())
        np.testing.assert_allclose((f.u/d.grid.share).numpy()[~at], DA.values[~at], rtol=1e-12)
    assert off['conditional'] < .32 < 1. < off['climatology']

@pytest.mark.parametrize('weight', [None, 'weights'])
@pytest.mark.parametrize('leads', [None, 3])
def test_a_gap_filled_by_climatology_is_no_anomaly(leads, weight):
    d = FieldDesign.from_xarray(GAPS, leads=leads, dtype=torch.float64, missing='keep'); train = np.arange(len(d))<40
    w = None if weight is None else np.random.default_rng(0).random(len(d))+.1
    _,f = learn_gaps('climatology', d, train, w); t = f.take(train); m = t.moments(None if w is None else w[train])
    z = f.standardise(*m).u.numpy()[np.isnan(d.u.numpy())]; np.testing.assert_allclose(z, 0, atol=1e-12)

def test_training_rows_alone_decide_what_is_land_and_what_is_filled():
    later = GAPS.copy(); later[:40,1,2] = np.nan; later[40:,1,2] = 5.
    changed = later.copy(); changed[40:] = changed[40:]*3+100
    for how in HOW:
        ga,gb = (learn_gaps(how, FieldDesign.from_xarray(v, dtype=torch.float64, missing='keep'),
                            np.arange(60)<40)[0] for v in (later, changed))
        assert not ga.grid.mask[1,2] and int(ga.grid.mask.sum()) == 23
        assert torch.equal(ga.mean, gb.mean) and (ga.loadings is None or torch.equal(ga.loadings, gb.loadings))

def test_leads_ask_only_times_that_training_rows_look_at():
    d = FieldDesign.from_xarray(GAPS, leads=2, dtype=torch.float64, missing='keep'); u = d.u.clone(); u[41:] += 50
    a,b = (learn_gaps('climatology', e, np.arange(len(e))<40)[0] for e in (d, d._like(u=u)))
    assert torch.equal(a.mean, b.mean)

@pytest.mark.parametrize('how', HOW)
@pytest.mark.parametrize('way', QUICK)
def test_both_ways_see_the_same_fields_and_files_keep_what_fills_them(way, how, tmp_path):
    m = MRTLRegressor(missing=how, **QUICK[way]).fit(GAPS, Y); new = holes(DA[:7], .5, 5)
    ready = learn_gaps(how, FieldDesign.from_xarray(GAPS, dtype=torch.float64, missing='keep'), np.ones(60, bool))[1]
    same = MRTLRegressor(**QUICK[way]).fit(ready, Y)
    np.testing.assert_allclose(m.coef_.values, same.coef_.values, rtol=1e-9)
    np.testing.assert_allclose(m.missing_.mean(), np.isnan(GAPS.values).mean(), atol=1e-12)
    assert m.missing_.dims == ('lat','lon') and m.missing_.attrs['filled'] == how
    m.save(tmp_path/'m'); again = MRTLRegressor.load(tmp_path/'m')
    np.testing.assert_array_equal(again.predict(new), m.predict(new))
    xr.testing.assert_identical(again.missing_, m.missing_)
    # a day with clouds has no land of its own
    one = m.predict(new[2:3]); np.testing.assert_allclose(one, m.predict(new)[2:3], rtol=1e-9)

def test_arrays_datasets_and_designs_go_the_same_way():
    m = [MRTLRegressor(missing='climatology', **QUICK['sgd']).fit(X, Y)
         for X in (GAPS.values, FieldDesign(torch.from_numpy(GAPS.values), Grid((4,6))))]
    np.testing.assert_allclose(m[0].coef_.values, m[1].coef_.values)
    assert m[0].__sklearn_tags__().input_tags.allow_nan and not MRTLRegressor().__sklearn_tags__().input_tags.allow_nan
    ds = xr.Dataset(dict(a=GAPS, b=holes(DA, .2, 9)))
    v = MRTLRegressor(missing='conditional', **QUICK['sgd']).fit(ds, Y)
    assert v.missing_.dims == ('variable','lat','lon')
    np.testing.assert_allclose(v.missing_.mean(('lat','lon')), [np.isnan(ds[k]).mean() for k in 'ab'], atol=1e-12)
    c = MRTLClassifier(missing='conditional', **QUICK['sgd']).fit(GAPS, Y>np.median(Y))
    assert np.isfinite(c.predict_proba(GAPS)).all()

def test_validation_rows_are_filled_and_empty_days_are_the_mean():
    held = holes(DA[40:], .6, 3); held[0] = np.nan
    m = MRTLRegressor(missing='climatology', **QUICK['sgd']).fit(GAPS[:40], Y[:40], valid=(held, Y[40:]))
    mean = GAPS[:40].mean('time').expand_dims(time=1)
    np.testing.assert_allclose(m.predict(held)[:1], m.predict(mean), rtol=1e-9)
    empty = GAPS.copy(); empty[4] = np.nan
    with pytest.warns(UserWarning, match='1 training times have no value'):
        MRTLRegressor(missing='climatology', **QUICK['sgd']).fit(empty, Y)

def test_gaps_are_refused_with_their_number_and_the_two_ways_out():
    kept = FieldDesign.from_xarray(GAPS, missing='keep'); one = DA.copy(); one[3,1,2] = np.nan
    for X in (one, FieldDesign.from_xarray(one, missing='keep'), one.values):
        with pytest.raises(DataError, match="1 of 24 cells, 0.1% of all values.*'climatology'.*'conditional'"):
            MRTLRegressor(**QUICK['sgd']).fit(X, Y)
    with pytest.raises(ConfigError, match="'mean'"): MRTLRegressor(missing='mean').fit(GAPS, Y)
    with pytest.raises(ConfigError, match='setting.* of the estimator'):
        FieldDesign.from_xarray(GAPS, missing='climatology')
    for f in (kept.moments, lambda: kept.at((2,3)).u, lambda: kept.standardise(torch.zeros(4,6), torch.ones(()))):
        with pytest.raises(DataError, match='gaps'): f()
    bad = GAPS.copy(); bad[0,0,0] = np.inf
    for X in (bad, bad.values):
        with pytest.raises(ValueError, match='infini'): MRTLRegressor(missing='climatology').fit(X, Y)
    with pytest.raises(DataError, match='every cell is masked'):
        learn_gaps('climatology', kept._like(u=kept.u*torch.nan), np.ones(60, bool))
    events = EventDesign.from_table(pd.DataFrame(dict(player=['a','b']*30)), dict(player='player'))
    with pytest.raises(ConfigError, match='is for fields'):
        MRTLClassifier(missing='climatology').fit(events, Y>np.median(Y))

def test_other_masks_are_taken_over_and_other_places_are_not():
    d = FieldDesign.from_xarray(GAPS, dtype=torch.float64, missing='keep')
    far = Grid((4,6), (0,1), (0,1), mask=d.grid.mask)
    assert on_mask(d, far) is d
    part = DA.copy(); part[:,0,0] = np.nan; m = MRTLRegressor(missing='climatology', **QUICK['sgd']).fit(GAPS, Y)
    mean = part.fillna(float(GAPS[:,0,0].mean()))
    np.testing.assert_allclose(m.predict(part), m.predict(mean), rtol=1e-9)
    np.testing.assert_allclose(m.predict(FieldDesign.from_xarray(part, dtype=torch.float64, missing='keep')),
                               m.predict(mean), rtol=1e-9)

@pytest.mark.parametrize('change', ['sd','size','how','extra'])
def test_damaged_files_are_refused(change, tmp_path):
    m = MRTLRegressor(missing='conditional', **QUICK['sgd']).fit(GAPS, Y)
    m.save(tmp_path/'m')
    t,meta = load_tensors(tmp_path/'m')
    if change == 'sd': t['gaps.sd'] = -t['gaps.sd']
    if change == 'size': t['gaps.mean'] = t['gaps.mean'][:2]
    if change == 'how': meta['gaps']['how'] = 'climatology'
    if change == 'extra': meta.pop('gaps')
    save_tensors(tmp_path/'m', t, meta)
    with pytest.raises(FormatError): MRTLRegressor.load(tmp_path/'m')

def test_reports_and_resampling_know_of_gaps(tmp_path):
    from mrtl import block_bootstrap
    m = MRTLRegressor(missing='climatology', **QUICK['sgd']).fit(GAPS, Y); m.report(tmp_path/'r.html')
    text = (tmp_path/'r.html').read_text()
    assert 'Where values were missing' in text and f'{np.isnan(GAPS.values).mean():.1%}' in text
    b = block_bootstrap(m, GAPS, Y, blocks=np.arange(60)//10, n=2); assert np.isfinite(b.strength).all()

def test_large_fields_are_worked_on_in_parts(monkeypatch):
    d = FieldDesign.from_xarray(GAPS, dtype=torch.float64, missing='keep'); g = observed(d, None)
    whole = list(Columns(d, g)); columns = Columns(d, g); columns.parts = [slice(0, 7), slice(7, 24)]
    for a in (1, 2):
        np.testing.assert_array_equal(torch.cat([p[a] for p in columns], 1), torch.cat([p[a] for p in whole], 1))
