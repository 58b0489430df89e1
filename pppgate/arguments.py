"""What the command and its subcommand share: a mistake of the user is one sentence on standard error and status 2."""

import argparse
import sys
from collections.abc import Callable
from typing import NoReturn

from pppgate.settings import ConfigError
from serialport.port import PortError


class Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        """argparse would print its usage and leave; here a mistake is one sentence like any other."""
        message = message.replace("unrecognized arguments:", "there is no option")
        message = message.replace("ignored explicit argument", "takes no value, but was given")
        message = message.replace("the following arguments are required:", "there is no")
        raise ConfigError(f"{message[:1].upper()}{message[1:]}; see {self.prog} --help.")


def answer(run: Callable[[], int]) -> int:
    """The exit status of what `run` does: its own, 2 for a mistake of the user, 130 after Ctrl-C."""
    try:
        return run()
    except (ConfigError, PortError) as error:
        tell(str(error))
        return 2
    except KeyboardInterrupt:
        return 130


def tell(sentence: str) -> None:
    """On standard error, if anybody reads it."""
    try:
        sys.stderr.write(f"pppgate: {sentence}\n")
        sys.stderr.flush()
    except (OSError, ValueError):
        pass
