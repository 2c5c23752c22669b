"Multiresolution tensor learning: spatial weight tensors learnt coarse-to-fine, and read as a few named maps."
__version__ = "0.1.0"

import sys
from types import ModuleType
TYPE_CHECKING = False # type checkers take it for True

__all__ = ['MRTLRegressor', 'MRTLClassifier', 'Grid', 'FieldDesign', 'EventDesign', 'bin_points', 'Smoothness', 'Callback', 'BlockSplit', 'simulate_field', 'simulate_events',
           'factor_maps', 'coef_maps', 'truth_maps', 'loss_curve', 'block_bootstrap', 'write_report', 'MRTLError']

if TYPE_CHECKING:
    from .bootstrap import block_bootstrap
    from .core import MRTLError
    from .designs import EventDesign, FieldDesign, bin_points
    from .estimators import MRTLClassifier, MRTLRegressor
    from .grids import Grid
    from .penalties import Smoothness
    from .plots import coef_maps, factor_maps, loss_curve, truth_maps
    from .report import write_report
    from .simulate import simulate_events, simulate_field
    from .splits import BlockSplit
    from .training import Callback

_MODULES = dict(MRTLRegressor='estimators', MRTLClassifier='estimators', Grid='grids', FieldDesign='designs', EventDesign='designs', bin_points='designs', Smoothness='penalties', Callback='training',
    BlockSplit='splits', simulate_field='simulate', simulate_events='simulate', factor_maps='plots', coef_maps='plots', truth_maps='plots', loss_curve='plots', block_bootstrap='bootstrap',
    write_report='report', MRTLError='core') # where each name stands; a module is imported when a name of it is first used

def __getattr__(name):
    if name in _MODULES:
        from importlib import import_module
        return globals().setdefault(name, getattr(import_module(f'mrtl.{_MODULES[name]}'), name))
    raise AttributeError(_unknown(name))

def __dir__(): return sorted({*globals(), *__all__})

def _unknown(name):
    "What to say of a name that is not there."
    from difflib import get_close_matches
    from importlib.util import find_spec
    if name.isidentifier() and not name.startswith('_') and find_spec(f'mrtl.{name}'): return f"module 'mrtl' has no attribute {name!r} before it is imported: write `import mrtl.{name}`"
    near = get_close_matches(name, __all__, 1, .5) or get_close_matches(name.lower(), [n.lower() for n in __all__], 1, .5)
    near = [n for n in __all__ if near and n.lower()==near[0].lower()]
    return f"module 'mrtl' has no attribute {name!r}: "+(f"did you mean {near[0]}?" if near else f"it has {', '.join(__all__)}; the rest stands in its modules, such as mrtl.models")

class _Package(ModuleType):
    "A package whose modules get their help texts as soon as they are imported."
    def __setattr__(self, name, value):
        super().__setattr__(name, value)
        if not isinstance(value, ModuleType) or value.__name__!=f'{self.__name__}.{name}': return
        from .core import explain
        explain(value)
        if hasattr(value, '__path__'): value.__class__ = _Package

sys.modules[__name__].__class__ = _Package
