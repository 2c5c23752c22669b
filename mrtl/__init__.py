"Multiresolution tensor learning: spatial weight tensors learnt coarse-to-fine, and read as a few named maps."
__version__ = "0.1.0"

import sys
from types import ModuleType
TYPE_CHECKING = False # type checkers take it for True

__all__ = [
    'MRTLRegressor', 'MRTLClassifier', 'Grid', 'FieldDesign', 'EventDesign', 'bin_points', 'Smoothness',
    'Callback', 'BlockSplit', 'simulate_field', 'simulate_events', 'factor_maps', 'coef_maps', 'truth_maps',
    'loss_curve', 'block_bootstrap', 'write_report', 'MRTLError', 'Term', 'Nodes', 'term_maps']

_MODULES = dict( # where each name stands
    MRTLRegressor='estimators', MRTLClassifier='estimators', Grid='grids', FieldDesign='designs',
    EventDesign='events', bin_points='grids', Smoothness='penalties', Callback='training',
    BlockSplit='splits', simulate_field='simulate', simulate_events='simulate', factor_maps='plots',
    coef_maps='plots', truth_maps='plots', loss_curve='curves', block_bootstrap='bootstrap',
    write_report='report', MRTLError='core', Term='terms.spec', Nodes='nodes', term_maps='termmaps')

if TYPE_CHECKING:
    from .bootstrap import block_bootstrap
    from .core import MRTLError
    from .designs import FieldDesign
    from .estimators import MRTLClassifier, MRTLRegressor
    from .events import EventDesign
    from .grids import Grid, bin_points
    from .nodes import Nodes
    from .penalties import Smoothness
    from .curves import loss_curve
    from .plots import coef_maps, factor_maps, truth_maps
    from .report import write_report
    from .simulate import simulate_events, simulate_field
    from .splits import BlockSplit
    from .termmaps import term_maps
    from .terms.spec import Term
    from .training import Callback
else:
    def __getattr__(name):
        "Import the module of a name when the name is first used."
        if name in _MODULES:
            from importlib import import_module
            return globals().setdefault(name, getattr(import_module(f'mrtl.{_MODULES[name]}'), name))
        if name=='_linked': return _linked_names()
        raise AttributeError(_unknown(name))

def __dir__(): return sorted({*__all__, *(n for n,v in globals().items() if n.startswith('__') or isinstance(v, ModuleType) and n!='sys')})

def _unknown(name):
    "What to say of a name that is not there."
    from difflib import get_close_matches
    from importlib.util import find_spec
    said = f"module 'mrtl' has no attribute {name!r}"
    if not name.startswith('_') and find_spec(f'mrtl.{name}'): return f"{said} before it is imported: write `import mrtl.{name}`"
    lower = {n.lower(): n for n in __all__}
    near = get_close_matches(name.lower(), lower, 1, .5)
    if near: return f"{said}: did you mean {lower[near[0]]}?"
    return f"{said}: it has {', '.join(__all__)}; everything else stands in its modules, such as mrtl.models"

class _Package(ModuleType):
    "A package whose modules get their help texts once they are imported."
    def __setattr__(self, name, value):
        super().__setattr__(name, value)
        if not isinstance(value, ModuleType) or value.__name__!=f'{self.__name__}.{name}': return
        from .core import explain
        explain(value)
        if hasattr(value, '__path__'): value.__class__ = _Package

sys.modules[__name__].__class__ = _Package

def _linked_names():
    "The index from which nbdev links words in backticks, without helpers: public names and their methods."
    import ast
    from pathlib import Path
    from ._modidx import d
    def public(module):
        tree = ast.parse(Path(__file__).parent.joinpath(*module.split('.')[1:]).with_suffix('.py').read_text(encoding='utf-8'))
        lists = [a.value for a in tree.body if isinstance(a, ast.Assign) and getattr(a.targets[0], 'id', '')=='__all__']
        return {n for v in lists for n in ast.literal_eval(v)}
    names = {m: public(m) for m in d['syms']}; classes = set().union(*names.values())
    def shown(module, symbol):
        first,_,method = symbol.removeprefix(module+'.').partition('.')
        return first in (classes if method else names[module]) and (not method.startswith('_') or method.startswith('__'))
    return dict(d, syms={m: {k: v for k,v in found.items() if shown(m, k)} for m,found in d['syms'].items()})
