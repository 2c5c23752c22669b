"""What one page cannot show of mrtl.panels, mrtl.curves and mrtl.plots: grids of cases, layouts measured, lines on
the globe."""
import io, json, subprocess, sys
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
import numpy as np
import pandas as pd
import pytest
import xarray as xr
from matplotlib.backends.backend_agg import FigureCanvasAgg
from PIL import Image
from mrtl import curves, panels, plots
from mrtl.core import DataError
from small_fits import CASES, small_fit

HERE = Path(__file__).parent
PACIFIC = dict(lat=np.arange(-15,61,10.), lon=np.arange(185,360,10.))

def make_factors(k=2, lat=PACIFIC['lat'], lon=PACIFIC['lon'], leads=3, variables=('sst','pressure'), seed=0):
    r = np.random.default_rng(seed)
    return xr.Dataset(dict(space=(('lat','lon','component'), r.normal(size=(len(lat),len(lon),k))),
                           lead_loading=(('lead','component'), r.normal(size=(leads,k))),
        variable_loading=(('variable','component'), r.normal(size=(len(variables),k))),
        strength=('component', np.sort(r.random(k))[::-1]), bias=('output', [0.])),
        coords=dict(lat=lat, lon=lon, lead=np.arange(1,leads+1), variable=list(variables), component=np.arange(1,k+1)))

def make_history(ladder, epochs=5, seed=0):
    r = np.random.default_rng(seed); rows,t,loss = [],0.,1.
    for stage,level in ladder:
        for e in range(epochs):
            rows.append(dict(stage=stage, level=level, epoch=e, seconds=t, train_loss=.9*loss, valid_loss=loss))
            t += 1; loss *= .9+.05*r.random()
    return pd.DataFrame(rows)

def mesh(ax): return ax.collections[0].get_array().filled(np.nan)

def shown_ticks(ax, renderer):
    "Left end, right end and text of the tick labels along x that are seen."
    labels = [t for t in ax.get_xticklabels() if t.get_text()
              and ax.get_xlim()[0]<=t.get_position()[0]<=ax.get_xlim()[1]]
    return sorted((*t.get_window_extent(renderer).intervalx,t.get_text())
                  for t in labels if ax.xaxis.get_tick_params()['labelbottom'])

# Layout, measured: nothing leaves the figure, no panel with its labels touches another.
def assert_tidy(fig):
    "Everything inside, nothing overlapping."
    renderer = FigureCanvasAgg(fig).get_renderer()
    fig.draw_without_rendering()
    boxes = [ax.get_tightbbox(renderer) for ax in fig.axes] + [t.get_window_extent(renderer) for t in fig.texts]
    W,H = fig.get_size_inches()*fig.dpi
    for ax in fig.axes:
        shown = shown_ticks(ax, renderer)
        for a,b in zip(shown, shown[1:]): assert a[1]<=b[0]+1, f'tick labels {a} and {b} overlap'
    for b in boxes: assert b.x0>=0 and b.y0>=0 and b.x1<=W and b.y1<=H, f'{b} leaves the {W}x{H} figure'
    for i,a in enumerate(boxes):
        for b in boxes[:i]:
            assert min(a.x1,b.x1)-max(a.x0,b.x0)<1.5 or min(a.y1,b.y1)-max(a.y0,b.y0)<1.5, f'{a} and {b} overlap'

@pytest.mark.parametrize('k,leads,variables', [(1,1,('sea surface temperature',)), (1,24,tuple('abcdefghijklmn')),
                                               (2,6,('sst','slp')), (3,24,tuple('abcdefghijklmn')),
                                               (8,6,('sst','slp')), (20,2,('sst',))])
def test_factor_maps_are_tidy(k, leads, variables):
    fig = plots.factor_maps(make_factors(k, leads=leads, variables=variables), title='a title')
    assert_tidy(fig)
    maps = [ax for ax in fig.axes if ax.get_facecolor()!=(1,1,1,1)]
    [(low,high)] = {ax.collections[0].get_clim() for ax in maps}
    assert low==-high and len(maps)==k and len({a.get_position().width
                                                for a in maps})==1 and len({a.get_position().x0 for a in maps})==1

@pytest.mark.parametrize('lat,lon',
                         [(np.arange(-25,26,5.),np.arange(-175,-74,5.)),
                          (np.arange(87.5,-90,-5),np.arange(2.5,360,5)), (np.arange(25,50.),np.arange(-124,-66.)),
    (np.arange(40,44,.5),np.arange(-90,-88,.5)), (np.arange(-80,81,10.),np.arange(100,130,10.))])
def test_every_proportion_is_tidy(lat, lon):
    f = make_factors(2, lat, lon, leads=2)
    assert_tidy(plots.factor_maps(f))
    assert_tidy(plots.truth_maps(f, f))
    assert_tidy(panels.field_map(f.space[...,0], title='a'))
    assert_tidy(plots.coef_maps(xr.dot(f.space, f.lead_loading, f.variable_loading,
                                       dim='component').transpose('lead','variable','lat','lon')))

def test_a_court_two_maps_and_thirty_players_are_tidy():
    r = np.random.default_rng(0)
    f = xr.Dataset(dict(court=(('court_y','court_x','component'), r.normal(size=(8,10,2))),
                        defender=(('defender_y','defender_x','component'), r.normal(size=(6,6,2))),
        player_loading=(('player','component'), r.normal(size=(30,2)))),
        coords=dict(player=[f'player number {i}' for i in range(30)]))
    fig = plots.factor_maps(f); assert_tidy(fig)
    bars = [ax for ax in fig.axes if ax.patches and len(ax.patches)==10]
    for ax,c in zip(bars, range(2)):
        v = f.player_loading.values[:,c]
        np.testing.assert_allclose(sorted(abs(p.get_width()) for p in ax.patches), np.sort(np.abs(v))[-10:])
        assert len({t.get_text() for t in ax.get_yticklabels()})==10
    assert len(bars)==2

@pytest.mark.parametrize('n', [1,2,5,7,14])
def test_curves_are_tidy(n):
    ladder = [('full',f'{2**i}x{2**i}') for i in range(min(2,n-1))]+[('low',f'{i+2}0x{i+3}0')
            for i in range(max(1,n-2))]
    h = make_history(ladder); fig = curves.loss_curve(h); assert_tidy(fig)
    names = [t for t in fig.axes[0].texts]; boxes = [t.get_window_extent(fig.canvas.get_renderer()) for t in names]
    assert [t.get_text() for t in names]==[l for _,l in ladder]
    for a,b in zip(boxes, boxes[1:]): assert a.x1<=b.x0+.5
    assert sum(l.get_linestyle()==':' for l in fig.axes[0].lines)==len(ladder)-1
    levels = [dict(stage=l.stage.iloc[0], level=l.level.iloc[0], epochs=4, start_loss=l.valid_loss.iloc[0],
                   first_loss=l.valid_loss.iloc[1], best_loss=l.valid_loss.min(), stopped_by='cap',
                   map_correlation=.5) for l in curves.level_runs(h)]
    assert_tidy(curves.level_bars(levels))
    assert_tidy(curves.level_bars(pd.DataFrame(levels).drop(columns=['map_correlation','epochs'])))

# Coastlines
def test_the_file_is_small_and_sane():
    path = Path(plots.__file__).with_name('coastlines.npz')
    assert path.stat().st_size < 150e3
    with np.load(path) as f: assert 'public domain' in str(f['source']) and 'permission notice' in str(f['source'])
    for name in ('land','states'):
        lines = panels.outlines(name); every = np.concatenate(lines)
        assert np.abs(every[:,1]).max()<=90 and np.abs(every[:,0]).max()<=181
        assert min(map(len, lines))>=2 and max(np.abs(np.diff(l, axis=0)).max() for l in lines)<15

@pytest.mark.parametrize('place,lon,lat', [('Oahu',-157.8,21.4), ('Cape Horn',-67.3,-55.9), ('Gibraltar',-5.6,36),
                                           ('Wellington',174.8,-41.3), ('Singapore',103.8,1.3),
                                           ('Chukotka',-170,66.1), ('Tasmania',147,-43.3)])
@pytest.mark.parametrize('lo', [-180,0,-360,180])
def test_capes_are_where_they_are(place, lon, lat, lo):
    lines = np.concatenate(panels.lines_within(panels.outlines(), lo, lo+360))
    at = (lon-lo)%360+lo
    assert np.hypot(*(lines-[at,lat]).T).min()<1, place

def test_no_line_runs_along_the_seam():
    for line in panels.outlines():
        assert not (np.isclose(np.abs(line[:-1,0]), 180) & np.isclose(np.abs(line[1:,0]), 180)).any()

def test_maps_named_differently_look_the_same():
    "The same ocean in 0..360, in -180..180 and across the seam with a jump, and from north to south."
    v = np.random.default_rng(0).normal(size=(8,18)); lon = PACIFIC['lon']
    pictures = []
    for x,y,w in ((lon,1,v), (lon-360,1,v), ((lon+180)%360-180,1,v), (lon,-1,v[::-1])):
        fig = panels.field_map(xr.DataArray(w, dims=('lat','lon'), coords=dict(lat=PACIFIC['lat'][::y], lon=x)),
                               title='x')
        pictures.append(np.asarray(Image.open(io.BytesIO(panels.png(fig))).convert('RGB')).astype(int))
    for p in pictures[1:]: assert (np.abs(p-pictures[0])>40).mean()<1e-3
    across = xr.DataArray(v[:,:6], dims=('lat','lon'),
                          coords=dict(lat=PACIFIC['lat'], lon=[165,175,-175,-165,-155,-145.]))
    assert panels.field_map(across).axes[0].get_xlim()==(160,220)

def test_states_only_on_close_maps():
    for lon,n in (((-125,-65),2), ((180,360),1)):
        ax = panels.new_figure(2,1).add_axes((0,0,1,1), xlim=lon, ylim=(20,50))
        panels.coastlines(ax); assert len(ax.collections)==n and ax.get_xlim()==lon
    panels.coastlines(ax, lon_range=(-180,0), states=True); assert len(ax.collections)==3
    free = panels.new_figure(2,1).add_subplot(); free.plot([190,200], [0,10]); before = free.get_xlim(),free.get_ylim()
    panels.coastlines(free); assert (free.get_xlim(),free.get_ylim())==before

def script():
    spec = spec_from_file_location('make_coastlines', HERE.parent/'tools'/'make_coastlines.py')
    m = module_from_spec(spec); spec.loader.exec_module(m)
    return m

def test_the_script_mends_thins_and_packs():
    m = script()
    line = np.array([[178.,0],[179,1],[-179,2],[-178,3]])
    [out] = m.mend(line); np.testing.assert_allclose(np.diff(out[:,0]), [1,2,1])
    seam = np.array([[170.,60],[180,65],[180,69],[170,72]]); assert [len(p) for p in m.mend(seam)]==[2,2]
    t = np.linspace(0, 6, 400); curve = np.c_[t,np.sin(t)]; few = m.thin(curve, .02)
    assert len(few)<40 and np.abs(np.interp(t, *few.T)-np.sin(t)).max()<.03
    points,starts = m.pack([line[:2],line[2:]])
    assert points.tolist()==(100*line).astype(int).tolist() and starts.tolist()==[0,2]
    arcs = m.arcs(dict(transform=dict(scale=[.5,2], translate=[10,20]), arcs=[[[2,1],[2,-1]]]))
    np.testing.assert_allclose(arcs[0], [[11,22],[12,20]])
    assert m.uses([[[0,~1]],[[2]]], set())=={0,1,2}

# Maps
@pytest.mark.parametrize('make', [lambda v: v, lambda v: v.astype('float32'), lambda v: v.astype(int),
                                  lambda v: v.tolist(), lambda v: pd.DataFrame(v),
                                  lambda v: __import__('torch').tensor(v), lambda v: xr.DataArray(v)])
def test_any_array_is_drawn_cell_for_cell(make):
    v = np.round(np.random.default_rng(0).normal(size=(3,5))*9); drawn = make(v)
    ax = panels.field_map(drawn).axes[0]
    np.testing.assert_allclose(mesh(ax), v); assert ax.collections[0].get_clim()==(-np.abs(v).max(),np.abs(v).max())

def test_land_is_left_out_and_hatching_covers_its_cells():
    v = np.ones((4,6)); v[0,0] = np.nan; hatch = np.zeros((4,6)); hatch[3,4:] = 1
    ax = panels.field_map(xr.DataArray(v, dims=('lat','lon'), coords=dict(lat=range(4), lon=range(6))),
                          signed=True, hatch=hatch).axes[0]
    assert np.isnan(mesh(ax)[0,0]) and np.isfinite(mesh(ax)).sum()==23
    path = next(c for c in ax.collections if c.get_hatch() or (hasattr(c,'hatches') and c.hatches)).get_paths()[0]
    box = path.get_extents(); np.testing.assert_allclose([box.x0,box.x1,box.y0,box.y1], [3.5,5.5,2.5,3.5], atol=1e-6)
    assert path.contains_point((3.55,2.55))

def test_hatch_per_component_goes_to_its_row():
    f = make_factors(3); hatch = xr.zeros_like(f.space); hatch[0,0,1] = 1
    def hatched(fig):
        return [any(len(c.get_paths()) and sum(len(p) for p in c.get_paths())
                    for c in ax.collections[1:] if getattr(c, 'hatches', None)) for ax in fig.axes[:3]]
    for h in (hatch, hatch.transpose('component','lat','lon'), hatch.values):
        assert hatched(plots.factor_maps(f, hatch=h))==[False,True,False]

@pytest.mark.parametrize('shape', [(1,1),(1,7),(7,1),(2,2)])
def test_small_grids(shape):
    fig = panels.field_map(np.arange(np.prod(shape)).reshape(shape)-.5); assert_tidy(fig)
    f = xr.Dataset(dict(space=(('y','x','component'), np.random.default_rng(0).normal(size=(*shape,2))),
                        strength=('component',[2,1.])))
    assert_tidy(plots.factor_maps(f))

def test_all_zero_factors_are_drawn(): assert_tidy(plots.factor_maps(make_factors(2)*0))

@pytest.mark.parametrize('shape,dims', [((3,4),'y x'), ((7,3,4),'lead y x'), ((2,3,3,4),'lead variable y x'),
                                        ((3,4,2),'y x output'), ((2,3,4,2),'lead y x output')])
def test_coefficients_of_any_number_of_modes(shape, dims):
    v = xr.DataArray(np.random.default_rng(0).normal(size=shape), dims=dims.split())
    fig = plots.coef_maps(v); assert_tidy(fig)
    want = v.transpose('output', ...) if dims.endswith('output') else v
    want = want.values.reshape(-1,3,4); axes = fig.axes[:-1]
    assert len(axes)==len(want)
    for ax,w in zip(axes, want): np.testing.assert_allclose(mesh(ax), w)

@pytest.mark.parametrize('call', [lambda: panels.field_map(np.full((2,2), np.nan)),
                                  lambda: panels.field_map(np.zeros(3)), lambda: panels.field_map(1.),
                                  lambda: plots.coef_maps(np.zeros(3)), lambda: plots.coef_maps(np.ones((61,2,2))),
                                  lambda: plots.factor_maps(xr.Dataset(dict(strength=('component',[1.])))),
    lambda: plots.factor_maps(xr.Dataset(dict(a=('x',[1.])))),
    lambda: plots.truth_maps(make_factors(), make_factors(leads=4)),
    lambda: plots.match_components(make_factors(), xr.Dataset(dict(other_loading=(('o','component'), np.ones((2,2)))))),
    lambda: curves.loss_curve(pd.DataFrame()), lambda: curves.loss_curve(make_history([('low','a')])[:0]),
    lambda: curves.loss_curve(make_history([('low','a')]).assign(valid_loss=np.nan, train_loss=np.inf)),
    lambda: curves.level_bars([]),
    lambda: curves.level_bars([dict(stage='low', level='a', start_loss=np.nan, first_loss=np.nan,
                                    best_loss=np.nan)]), lambda: plots.prediction_plot([1,2], [1]),
    lambda: plots.prediction_plot([np.nan], [1.])])
def test_bad_input_is_named(call):
    with pytest.raises(DataError) as e: call()
    assert len(str(e.value))>30 and not str(e.value)[0].isupper()

# Matching
@pytest.mark.parametrize('seed', range(5))
def test_matching_undoes_order_sign_and_scale(seed):
    r = np.random.default_rng(seed); f = make_factors(4, seed=seed); f['space'] = f.space.where(f.lon<340)
    order = r.permutation(4); g = f.isel(component=order)*xr.DataArray(r.choice([-2.,.5], 4), dims='component')
    i,j,c = plots.match_components(g, f)
    np.testing.assert_array_equal(order[i], j)
    np.testing.assert_allclose(c, 1)
    np.testing.assert_array_equal(j, range(4))
    axes = plots.truth_maps(g, f).axes
    maps = [mesh(ax) for ax in axes if ax.collections and ax.get_facecolor()!=(1,1,1,1)]
    for planted,learnt in zip(maps[:4], maps[4:]): np.testing.assert_allclose(planted, learnt, atol=1e-9)
    assert [t for ax in axes for t in [ax.get_title(loc='left')] if 'learnt' in t]==['learnt, match 1.000']*4

def test_matching_weighs_by_area_and_takes_fewer():
    f = make_factors(1); g = f.copy(deep=True)
    g['space'] = f.space+xr.DataArray(np.random.default_rng(1).normal(size=f.space.shape), dims=f.space.dims)
    w = np.cos(np.deg2rad(f.lat))
    want = float((w*f.space*g.space).sum()/np.sqrt((w*f.space**2).sum()*(w*g.space**2).sum()))
    np.testing.assert_allclose(plots.match_components(g, f)[2], [abs(want)])
    assert len(plots.match_components(make_factors(5), make_factors(2))[2])==2

# Curves
def test_levels_are_cut_where_stage_or_level_changes():
    h = make_history([('full','2x2'),('full','4x4'),('low','4x4'),('low','8x8')])
    assert [(l.stage.iloc[0],l.level.iloc[0],len(l))
            for l in curves.level_runs(h)]==[('full','2x2',5),('full','4x4',5),('low','4x4',5),('low','8x8',5)]

def test_a_spike_or_gap_does_not_flatten_the_curve():
    h = make_history([('low','4x4'),('low','8x8')], epochs=40)
    h.loc[41,'valid_loss'] = 1e6; h.loc[50,'valid_loss'] = np.nan
    h.loc[0,'train_loss'] = np.nan
    assert curves.loss_curve(h).axes[0].get_ylim()[1]<1.2

@pytest.mark.parametrize('drop', ['valid','train'])
def test_runs_without_validation_or_training_loss(drop):
    h = make_history([('low','4x4'),('low','8x8')]).assign(**{f'{drop}_loss':np.nan}); assert_tidy(curves.loss_curve(h))
    kept = 'train_loss' if drop=='valid' else 'valid_loss'
    for fig in (curves.loss_curve(h), curves.loss_curve({'a':h})):
        line = next(l for l in fig.axes[0].lines if len(l.get_ydata())==10)
        np.testing.assert_allclose(line.get_ydata(), h[kept])

@pytest.mark.parametrize('seed', range(10))
def test_spreading_keeps_order_and_distance(seed):
    r = np.random.default_rng(seed); n = r.integers(1,9); at = np.sort(r.random(n)); out = curves.spread(at, .1)
    assert (np.diff(out)>.1-1e-9).all() and out[0]>=-1e-9 and out[-1]<=1+1e-9
    if n==1 or np.diff(at).min()>=.1: np.testing.assert_allclose(out, at)

def test_predictions_in_any_order_with_gaps_missing_and_outputs():
    r = np.random.default_rng(0)
    t = pd.date_range('2000-01', periods=20, freq='MS').append(pd.date_range('2010-01', periods=10, freq='MS'))
    y = pd.Series(r.normal(size=30), index=t)
    p = y+.1
    y.iloc[3] = np.nan
    a = plots.prediction_plot(y, p); o = r.permutation(30)
    b = plots.prediction_plot(xr.DataArray(y.iloc[o].values, dims='time', coords=dict(time=t[o])), p.iloc[o].values)
    for fig in (a, b): assert_tidy(fig); assert '29 points' in fig.axes[0].texts[0].get_text()
    for la,lb in zip(a.axes[1].lines, b.axes[1].lines): np.testing.assert_allclose(la.get_ydata(), lb.get_ydata())
    assert [int(np.isnan(l.get_ydata()).sum()) for l in a.axes[1].lines]==[2,2]
    assert len(plots.prediction_plot(np.ones((5,2)), np.zeros((5,2))).axes)==1
    assert 'nan' in plots.prediction_plot([1,1], [0,1.]).axes[0].texts[0].get_text()
    assert '0.123' in plots.prediction_plot([1,2], [0,1.], score=.123).axes[0].texts[0].get_text()

# Pictures and state

def test_blocks_far_apart_stand_side_by_side():
    months = pd.date_range('1950', periods=600, freq='MS')
    y = pd.Series(np.ones(60), months[np.r_[0:20, 300:320, 580:600]])
    ax = plots.prediction_plot(y, y).axes[1]
    assert [l.get_text() for l in ax.get_xticklabels()]==['1950-01','1975-01','1998-05'] and ax.get_xlim()[1]<75
    near = plots.prediction_plot(y[:20].drop(y.index[9:11]), y[:20].drop(y.index[9:11])).axes[1]
    assert near.get_xlabel()=='' and near.get_xlim()[0]>-8000, 'a short gap leaves the axis of dates as it is'

def test_pictures_keep_their_colours():
    fig = plots.factor_maps(make_factors(3)); small = Image.open(io.BytesIO(panels.png(fig))); assert small.mode=='P'
    full = io.BytesIO(); fig.savefig(full, dpi=100)
    a,b = (np.asarray(i.convert('RGB')).astype(int) for i in (Image.open(full), small))
    assert (a[0,0]==b[0,0]).all() and (b[0,0]==255).all()
    off = np.abs(a-b).max(-1); assert off.max()<40 and (off>12).mean()<1e-3

def test_nothing_of_pyplot_and_nothing_at_import():
    code = ("import sys, numpy as np, mrtl.plots, mrtl.panels as p; assert not any(m.startswith('matplotlib') for "
            "m in sys.modules), 'at import'; p.png(p.field_map(np.eye(3))); assert 'matplotlib.pyplot' not in "
            "sys.modules, 'pyplot'; print('clean')")
    assert subprocess.run([sys.executable,'-c',code], capture_output=True, text=True).stdout.strip()=='clean'

def test_a_notebook_is_given_one_picture():
    from IPython.core.displaypub import CapturingDisplayPublisher
    from IPython.core.interactiveshell import InteractiveShell
    from IPython.utils.capture import capture_output
    shell = InteractiveShell.instance()
    try:
        with capture_output() as out: panels.new_figure(1,1)._ipython_display_()
        [shown] = out.outputs; assert list(shown.data)==['image/png']
    finally: InteractiveShell.clear_instance()

def test_stored_pictures_are_small():
    for name in ('47_panels','48_curves','50_plots','51_report'):
        for c in json.loads((HERE.parent/'nbs'/f'{name}.ipynb').read_text())['cells']:
            for o in c.get('outputs', []): assert len(o.get('data', {}).get('image/png', ''))*.75 < 60e3

def test_unsure_cells_are_hatched(monkeypatch):
    "Cell by cell, whatever the order of dims; beyond 1.96 standard deviations none."
    seen = []; draw = plots.draw_map
    monkeypatch.setattr(plots, 'draw_map', lambda ax, da, *a, hatch=None, **k: seen.append(hatch)
                        or draw(ax, da, *a, hatch=hatch, **k))
    coef = xr.DataArray(np.random.default_rng(0).normal(size=(2,4,5,3)), dims=('variable','y','x','output'))
    std = xr.full_like(coef, .5); std[0,1,2,0] = 99
    assert_tidy(plots.coef_maps(coef, std=std))
    want = (np.abs(coef)<1.96*std).transpose('output', ...).values.reshape(6, 4, 5)
    np.testing.assert_array_equal(np.stack(seen), want); assert want[0,1,2] and 0<want.mean()<1
    seen.clear(); plots.coef_maps(coef); assert seen==[None]*6

# ---- any fitted model: both ways, one output and several, labels, counts, and nothing to be found

@pytest.fixture(scope='module', params=CASES, ids=lambda c: '-'.join(c))
def fit(request): return small_fit(*request.param)

def test_factors_of_any_fit(fit):
    fig = plots.factor_maps(fit.factors); assert_tidy(fig)
    k = int(panels.worth_showing(fit.factors).sum()); parts = panels.factor_parts(fit.factors)
    assert len(fig.axes)==k*len(parts)+1 and ('output_loading' in parts)==(fit.coef.dims[-1]=='output')
    for i in range(k): np.testing.assert_allclose(mesh(fig.axes[i]), parts['space'][i])

def test_coefficients_of_any_fit(fit):
    fig = plots.coef_maps(fit.coef, std=fit.std); assert_tidy(fig)
    want = fit.coef.transpose('output', ...) if fit.coef.dims[-1]=='output' else fit.coef
    want = want.values.reshape(-1, *fit.coef.sel().transpose(..., 'lat', 'lon').shape[-2:])
    for ax,w in zip(fig.axes, want, strict=False): np.testing.assert_allclose(mesh(ax), w)
    assert len(fig.axes)==len(want)+1

def test_any_fit_against_itself(fit):
    assert_tidy(plots.truth_maps(fit.factors, fit.factors))
    found = plots.match_components(fit.factors, fit.factors)
    np.testing.assert_array_equal(found.learnt, found.planted)
    if np.abs(fit.factors.space).max()>0: np.testing.assert_allclose(found.cosines, 1)

def test_history_of_any_fit(fit):
    fig = curves.loss_curve(fit.history); assert_tidy(fig); [ax] = fig.axes
    if 'valid_loss' in fit.history:
        assert ax.get_xlabel()=='seconds' and [t.get_text() for t in ax.texts]==[l['level'] for l in fit.levels]
        return
    assert ax.get_xscale()=='log' and ax.xaxis_inverted() and 'length' in ax.get_xlabel()
    lines = [l for l in ax.lines if l.get_linestyle()=='-']; outputs = list(fit.history.groupby('output', sort=False))
    assert len(lines)==len(outputs)
    for l,(_,h) in zip(lines, outputs):
        np.testing.assert_allclose(l.get_xdata(), h.length)
        np.testing.assert_allclose(l.get_ydata(), h.evidence-(h.evidence.max() if len(outputs)>1 else 0))
    assert len(curves.loss_curve({'a':fit.history, 'b':fit.history}).axes[0].get_legend().get_texts())==2

def test_levels_of_any_fit(fit):
    for levels in (pd.DataFrame(fit.levels), json.loads(json.dumps(fit.levels))): curves.level_bars(levels)
    fig = curves.level_bars(fit.levels); assert_tidy(fig)
    if 'best_loss' in fit.levels[0]:
        best = next(l for l in fig.axes[0].lines if l.get_label()=='best')
        np.testing.assert_allclose(best.get_ydata(), [l['best_loss'] for l in fit.levels])
        return
    for bars,(name,rows) in zip(fig.axes[0].containers,
                                pd.DataFrame(fit.levels).groupby('output', sort=False), strict=True):
        heights = [b.get_height() for b in bars]
        np.testing.assert_allclose(heights[:len(rows)], rows.weight)
        assert abs(sum(heights)-1)<1e-9 and bars.get_label()==str(name)

def test_a_fit_in_one_picture(fit):
    fig = plots.fit_plot(fit.factors, fit.history, title='a fit'); assert_tidy(fig)
    alone = curves.loss_curve(fit.history).axes[0]
    for a,b in zip(fig.axes[-1].lines, alone.lines, strict=True):
        np.testing.assert_allclose(a.get_xydata(), b.get_xydata())
    assert len(fig.axes)==len(plots.factor_maps(fit.factors).axes)+1

def test_predictions_of_any_fit(fit):
    fig = plots.prediction_plot(fit.y, fit.yhat); assert_tidy(fig)
    assert f'{np.size(fit.y)} points' in fig.axes[0].texts[0].get_text()

def many_outputs(n=30, rounds=4):
    "Tables of a fit by evidence with many outputs."
    r = np.random.default_rng(0); w = r.dirichlet(np.ones(rounds+1), n)
    history = pd.DataFrame([dict(output=f'{o:04d}', length=l, evidence=-100-r.random()) for o in range(n)
                            for l in (4,3,2.2,1.7,1.3)])
    levels = [dict(output=f'{o:04d}', round=i, length=[1.,2.] if i==rounds-1 else 1.5, noise=.5, evidence=-90.,
                   weight=w[o,i], jitter=0.) for o in range(n) for i in range(rounds)]
    return history,levels,w

def test_many_outputs_are_drawn_without_names():
    history,levels,w = many_outputs()
    ax = curves.loss_curve(history).axes[0]
    assert len([l for l in ax.lines if l.get_linestyle()=='-'])==30 and ax.get_legend() is None
    fig = curves.level_bars(levels); assert_tidy(fig); [bars] = fig.axes[0].containers
    np.testing.assert_allclose([b.get_height() for b in bars], w.mean(0))
    assert len(fig.axes[0].lines[0].get_ydata())==w.size
    few = curves.loss_curve(history[history.output<'0005']).axes[0]
    assert [t.get_text() for t in few.get_legend().get_texts()]==[f'{o:04d}' for o in range(5)]

@pytest.mark.parametrize('lengths', [[1.], [2.,1.9], [30.,1.], [1.2,1.]])
def test_lengths_near_and_far_have_round_labels(lengths):
    fig = curves.loss_curve(pd.DataFrame(dict(output=0, length=lengths, evidence=np.arange(len(lengths)))))
    assert_tidy(fig)
    high,low = fig.axes[0].get_xlim(); assert low<min(lengths)<=max(lengths)<high
    assert len([t for t in fig.axes[0].get_xticklabels() if t.get_text()])>=1

@pytest.mark.parametrize('call,said',
                         [(lambda: curves.loss_curve({'a':make_history([('low','4x4')]), 'b':many_outputs()[0]}),
                           'no axis in common'), (lambda: curves.loss_curve({}), 'no history'),
    (lambda: curves.loss_curve(many_outputs()[0].assign(evidence=np.nan)), 'no log evidence'),
    (lambda: curves.loss_curve(many_outputs()[0][:0]), 'empty'),
    (lambda: curves.loss_curve(many_outputs()[0].drop(columns='length')), 'length'),
    (lambda: curves.level_bars([dict(weight=1.)]), 'output'),
    (lambda: curves.level_bars([dict(output=0)]), 'best_loss or weight'),
    (lambda: curves.loss_curve(pd.DataFrame(dict(a=[1]))), 'valid_loss or evidence')])
def test_tables_that_cannot_be_drawn_are_named(call, said):
    with pytest.raises(DataError, match=said): call()

# ---- main effects, entries left out, lines of one's own
def with_mains(f, outputs=('one',), modes=('space','lead','variable'), seed=1):
    "The factors with main effects of some modes, each of its own size."
    r = np.random.default_rng(seed); dims = dict(space=('lat','lon'), lead=('lead',), variable=('variable',))
    mains = {f'main_{m}': ((*dims[m],'output'),
                           10*(k+1)*r.normal(size=(*(f.sizes[d] for d in dims[m]),len(outputs))))
             for k,m in enumerate(modes)}
    return f.drop_vars('bias').assign(mains).assign_coords(output=list(outputs))

def panels_at(fig):
    return {(round(ax.get_position().x0, 3), round(ax.get_position().y1, 3)): ax
            for ax in fig.axes if ax.get_position().height*fig.get_figheight()>.5}

@pytest.mark.parametrize('outputs', [('one',), ('IA','OH')])
@pytest.mark.parametrize('modes', [('space','lead','variable'), ('space',), ('variable',), ('lead',)])
def test_main_effects_stand_above_the_components(modes, outputs):
    f = with_mains(make_factors(2), outputs, modes); fig = plots.factor_maps(f, title='a title'); assert_tidy(fig)
    at = panels_at(fig)
    lefts = sorted({x for x,_ in at})
    tops = sorted({y for _,y in at}, reverse=True)
    names = ['space','lead','variable']
    assert len(lefts)==3 and len(tops)==len(outputs)+2
    for i,o in enumerate(outputs):
        for x,m in zip(lefts, names):
            ax = at.get((x,tops[i])); assert (ax is None)==(m not in modes)
            if ax is None: continue
            v = f[f'main_{m}'].isel(output=i)
            if m=='space':
                np.testing.assert_allclose(mesh(ax).reshape(v.shape), v)
                assert ax.collections[0].get_clim()[1]==abs(f.main_space).max()
            else:
                np.testing.assert_allclose([p.get_height() if m=='lead' else p.get_width() for p in ax.patches], v)
                assert (ax.get_ylim() if m=='lead' else ax.get_xlim())[1]==pytest.approx(1.1*abs(f[f'main_{m}']).max())
    for i in range(2): # the components are what they are without main effects
        np.testing.assert_allclose(mesh(at[lefts[0],tops[len(outputs)+i]]).reshape(8, 18), f.space[...,i])
        assert at[lefts[0],tops[len(outputs)+i]].collections[0].get_clim()[1]==abs(f.space).max()
    titles = [ax.get_title('left') for ax in fig.axes if ax.get_title('left')]+[t.get_text() for t in fig.texts]
    wanted = ['main effects'] if len(outputs)==1 else [f'main effects, output {o}' for o in outputs]
    assert all(titles.count(t)==1 for t in [*wanted, 'component 1, strength '+f'{float(f.strength[0]):.3g}'])
    # every column has one name
    said = [t.get_text() for ax in fig.axes for t in ax.texts]; assert said.count('lead')==said.count('variable')==1

def test_main_effects_alone_and_of_a_mode_without_components():
    f = with_mains(make_factors(2))
    fig = plots.factor_maps(f[['main_space','main_variable']])
    assert_tidy(fig)
    assert len(panels_at(fig))==2
    # only the mains know of leads
    lonely = f.drop_vars('lead_loading'); fig = plots.factor_maps(lonely); assert_tidy(fig)
    at = panels_at(fig); assert len({x for x,_ in at})==3 and len(at)==3+2*2
    # a table of features: bars in place of a map
    thin = f.isel(lat=[0]); fig = plots.factor_maps(thin); assert_tidy(fig)
    assert len(panels_at(fig))==9 and not any(ax.images or ax.get_facecolor()!=(1,1,1,1)
                                              for ax in panels_at(fig).values()) and [ax.get_title('left')
            for ax in fig.axes if ax.get_title('left')]==['main effects',
            *(f'component {c}, strength {float(f.strength[c-1]):.3g}' for c in (1,2))]
    fig = plots.factor_maps(f[['main_space','strength']]); assert_tidy(fig); assert len(panels_at(fig))==1
    # one output need not be a dim
    fig = plots.factor_maps(f.assign(main_space=f.main_space[...,0]).drop_dims('output')[['main_space']])
    assert len(panels_at(fig))==1
    with pytest.raises(DataError, match='component'): plots.factor_maps(xr.Dataset(dict(bias=('output', [0.]))))

def test_a_mode_may_be_called_main():
    f = make_factors(2).rename(space='main_space')
    fig = plots.factor_maps(f)
    assert len(panels_at(fig))==6 and panels.main_parts(f)=={}

def test_only_components_are_hatched():
    f = with_mains(make_factors(2))
    maps = [ax for ax in plots.factor_maps(f, hatch=np.ones((8,18), bool)).axes if ax.get_facecolor()!=(1,1,1,1)]
    assert [any(getattr(c, 'hatches', None) for c in ax.collections) for ax in maps]==[False, True, True]

@pytest.mark.parametrize('mode', ['main', 'plain'])
def test_main_effects_change_nothing_else(mode):
    f = with_mains(make_factors(2))
    for g in (f, f.drop_vars([n for n in f if n.startswith('main_')])):
        m = plots.match_components(g, f); assert list(m.learnt)==list(m.planted)==[0,1]
    assert (list(panels.factor_parts(f))==['space','lead_loading','variable_loading']
            and list(panels.main_parts(f))==['space','lead_loading','variable_loading'])
    assert panels.main_parts(make_factors(2))=={}

def test_a_fit_with_main_effects_shows_them():
    from mrtl.estimators import MRTLClassifier
    from mrtl.events import EventDesign
    from mrtl.grids import Grid
    r = np.random.default_rng(0)
    t = pd.DataFrame(dict(who=r.choice(list('abcdefghijklmn'), 200), x=r.uniform(0, 4, 200), y=r.uniform(0, 3, 200)))
    d = EventDesign.from_table(t, dict(who='who', court=('x','y')), dict(court=Grid((3,4))))
    m = MRTLClassifier(rank=1, main_effects=True, max_epochs=2, schedule=[(3,4)]).fit(d,
            (t.x+r.normal(size=200)>2).astype(int))
    fig = plots.factor_maps(m.factors_); assert_tidy(fig)
    assert len(panels_at(fig))==4 and [ax.get_xlabel()
                                       for ax in fig.axes if len(ax.patches)==10]==['10 of 14 whos shown']*2
    assert_tidy(plots.fit_plot(m.factors_, m.history_))

@pytest.mark.parametrize('n,k', [(10,1), (11,1), (11,3), (200,2)])
def test_a_figure_says_what_it_leaves_out(n, k):
    f = xr.Dataset(dict(player_loading=(('player','component'), np.random.default_rng(0).normal(size=(n,k)))),
                   coords=dict(player=[f'p{i}' for i in range(n)]))
    for g in (f, f.assign(court=(('y','x','component'), np.ones((2,3,k))))):
        for fig in (plots.factor_maps(g), plots.truth_maps(g, g)):
            assert_tidy(fig); bars = [ax for ax in fig.axes if len(ax.patches)==10]; assert len(bars)==k
            assert [ax.get_xlabel() for ax in bars]==['']*(k-1)+[f'10 of {n} players shown' if n>10 else '']
    # numbers are all shown
    leads = xr.DataArray(np.ones(30), coords=dict(lead=np.arange(30))); ax = panels.new_figure(2,2).add_axes((0,0,1,1))
    assert len(panels.loading_bars(ax, leads, 1).patches)==30 and ax.get_xlabel()==''

@pytest.mark.parametrize('word,many', [('player','players'), ('category','categories'), ('day','days'),
                                       ('class','classes'), ('box','boxes'), ('post','posts')])
def test_words_for_many(word, many):
    da = xr.DataArray(np.ones(12), coords={word: list('abcdefghijkl')}); ax = panels.new_figure(2,2).add_axes((0,0,1,1))
    assert panels.loading_bars(ax, da, 1).get_xlabel()==f'10 of 12 {many} shown'

def test_lines_of_ones_own():
    f = with_mains(make_factors(2, lat=np.arange(5.), lon=np.arange(9.))).rename(lat='v', lon='u'); seen = []
    def lines(ax): seen.append(ax); ax.plot([-5,20], [-5,20])
    fig = plots.factor_maps(f, draw=dict(space=lines)); assert_tidy(fig)
    maps = [ax for ax in fig.axes if ax.collections and ax.get_facecolor()!=(1,1,1,1)]
    assert seen==maps and len(maps)==3
    for ax in maps: assert ax.get_xlim()==(-.5,8.5) and ax.get_ylim()==(-.5,4.5) # the map stays as large as it is
    for bad in (dict(court=lines), dict(lead_loading=lines)):
        with pytest.raises(DataError, match=f"draw names '{next(iter(bad))}'; the maps are 'space'"):
            plots.factor_maps(f, draw=bad)
