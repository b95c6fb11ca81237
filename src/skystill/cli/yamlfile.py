"""YAML files that a user wrote: what is wrong in one comes as one line with its place."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from skystill.errors import ConfigError


class _Loader(yaml.SafeLoader):
    """Refuses a key that is given twice, of which PyYAML keeps the last without a word.

    What stands beside a merge (`<<`) may repeat what is merged in, as YAML has it.
    """

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen = set[str]()
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode) or key.tag == "tag:yaml.org,2002:merge":
                continue
            if key.value in seen:
                said = f"{key.value} is there twice"
                raise yaml.constructor.ConstructorError(problem=said, problem_mark=key.start_mark)
            seen.add(key.value)
        return super().construct_mapping(node, deep)


def read_yaml(path: Path, like: str) -> Any:
    """What the file holds. like: a sentence on what such files look like. Errors: ConfigError for a file that cannot be
    read, is no YAML, or gives a key twice."""
    try:
        return yaml.load(path.read_text(encoding="utf-8"), _Loader)
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        what = "" if isinstance(error, yaml.constructor.ConstructorError) else "not YAML, "
        tab = " YAML wants spaces where there is a tab." if "'\\t'" in str(error.problem) else ""
        raise ConfigError(f"{path} line {line}: {what}{error.problem}.{tab} Mend that line.") from error
    except (yaml.YAMLError, UnicodeDecodeError, OSError) as error:
        raise ConfigError(f"{path}: not a YAML text file. {like}") from error
