"""What pyproject.toml cannot say: the compiled engine. Where it cannot be built, miniwsgi is installed without it.

Cython is asked for only where the C source is not there yet, or was made from other sources: a source distribution
brings it.
"""

import importlib.util
import os
import sys

from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

from daemon import engine_build
from daemon.engine import builds

CYTHON = "Cython>=3.2,<3.3"


class BuildEngine(build_ext):
    """An editable install would link to what has not been built, and fail (setuptools 84)."""

    def get_output_mapping(self) -> dict[str, str]:
        return {built: source for built, source in super().get_output_mapping().items() if os.path.exists(source)}


if not engine_build.c_source_fits() and importlib.util.find_spec("Cython"):
    engine_build.make_c_source()

if builds.why_plain():
    setup()
elif engine_build.c_source_fits():
    flags = engine_build.flags()
    source = os.path.relpath(builds.C_SOURCE)
    engine = Extension(builds.MODULE, [source], extra_compile_args=flags, extra_link_args=flags, optional=True)
    setup(ext_modules=[engine], cmdclass={"build_ext": BuildEngine})
else:
    setup(setup_requires=[CYTHON])  # PEP 517's get_requires_for_build_*: it is installed, and this is run anew
