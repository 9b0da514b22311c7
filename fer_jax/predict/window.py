"""A window that shows what a webcam sees, with the answers; by tkinter, which comes with Python."""

import os
import sys

from PIL import ImageTk


class Window:
    """Closed by its button, by Escape or by q."""

    def __init__(self, title: str):
        import tkinter  # a package of its own in some systems

        self.closed = False
        self._root = tkinter.Tk()
        self._root.title(title)
        self._root.protocol("WM_DELETE_WINDOW", self._close)
        for key in ("<Escape>", "q"):
            self._root.bind(key, self._close)
        self._field = tkinter.Label(self._root)
        self._field.pack()

    def show(self, image):
        """A PIL picture in the place of the last one."""
        if not self.closed:
            self._picture = ImageTk.PhotoImage(image, master=self._root)
            self._field.configure(image=self._picture)
            self._root.update()

    def _close(self, event=None):
        self.closed = True
        self._root.destroy()


class Viewer:
    """Shows the frames of webcams in a window each, where there is a display."""

    def __init__(self):
        self._windows = {}  # of the webcams so far; None without a display

    def show(self, name: str, image) -> bool:
        """Whether to go on: False once the window of the webcam is closed."""
        if name not in self._windows:
            self._windows[name] = _open(name)
        window = self._windows[name]
        if window is not None:
            window.show(image)
        return window is None or not window.closed


def _open(name) -> Window | None:
    """None where there is no display; says which."""
    if sys.platform not in ("darwin", "win32") and not os.environ.get("DISPLAY"):
        print(f"{name}: no display, so no window; predictions.csv grows. Ctrl-C ends it.")
        return None
    try:
        window = Window(name)
    except Exception as error:  # ImportError, or TclError, whose class may not be there either
        print(f"{name}: no window ({error}); predictions.csv grows. Ctrl-C ends it.")
        return None
    print(f"{name}: to end, close the window or press q in it.")
    return window
