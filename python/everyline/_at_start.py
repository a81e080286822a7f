"""Imported when the interpreter starts, if EVERYLINE_INSTALL is set (`everyline_install.pth`)."""

from everyline._install import install

install()
