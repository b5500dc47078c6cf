"""Put the TFLite runtime for browsers into the wheel, where npm can give it."""

import sys

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class BrowserRuntime(BuildHookInterface):
    """Add two files of 10 MB, 3 MB compressed, so that `page` needs no npm."""

    def initialize(self, version, build_data):
        """Add them to a wheel; an editable installation takes them when needed."""
        if version == "editable":
            return
        sys.path.insert(0, self.root)
        from edgetpu_lib.base.artifacts import InputError
        from edgetpu_lib.web import litert

        try:
            paths = litert.fetched_paths()
        except InputError as error:
            self.app.display_warning(f"without the runtime for browsers: {error}")
            return
        finally:
            sys.path.remove(self.root)
        for name, path in paths.items():
            target = f"edgetpu_lib/data_files/{litert.FOLDER}/{name}"
            build_data["force_include"][str(path)] = target
