"""JupyterLab as `mmlite lab` starts it: one line with the link, and one Ctrl-C stops it."""

from collections.abc import Sequence

from jupyter_server.serverapp import ServerApp
from jupyterlab.labapp import LabApp


class CourseServer(ServerApp):
    """A server that says in one line where the lesson is."""

    def start_app(self) -> None:
        link = self.public_url if self.custom_display_url else self.local_url
        name = self.default_url.rpartition("/")[2]
        opens = self.open_browser and not self.sock
        how = f"Opening {name} in your browser:" if opens else f"Open {name} in a browser:"
        print(f"{how} {link}  (Ctrl-C stops it)", flush=True)
        # else the server prints the link again, in five lines
        self.identity_provider.token_generated = False
        super().start_app()


class CourseLab(LabApp):
    """JupyterLab on such a server."""

    serverapp_class = CourseServer

    @classmethod
    def get_extension_package(cls) -> str:
        return "jupyterlab"  # by default it is the package that this class stands in


def serve(options: Sequence[str]) -> None:
    """Start JupyterLab with its options and wait until it stops."""
    given = " ".join(options)
    own = ["--ServerApp.answer_yes=True"]  # one Ctrl-C, not two
    # forty lines that say that all is well; a user who asks for them gets them
    own += [] if "--debug" in given or "log_level" in given else ["--Application.log_level=ERROR"]
    CourseLab.launch_instance([*own, *options])
