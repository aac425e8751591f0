"""The web pages, which read nothing but the store, and how Streamlit is started for them. No page is here."""

from pathlib import Path

APP = Path(__file__).with_name("app.py")
"""What `streamlit run` is given."""

_LIGHT = {
    "primaryColor": "#3b5bdb",
    "backgroundColor": "#ffffff",
    "secondaryBackgroundColor": "#f5f6f8",
    "textColor": "#1c2024",
    "borderColor": "#e3e6ea",
    "linkColor": "#3451c7",
    "codeBackgroundColor": "#f5f6f8",
    "codeTextColor": "#1c2024",
}
_DARK = {
    "primaryColor": "#7c93f5",
    "backgroundColor": "#111418",
    "secondaryBackgroundColor": "#1a1e24",
    "textColor": "#e6e8eb",
    "borderColor": "#2a3038",
    "linkColor": "#9db0ff",
    "codeBackgroundColor": "#171b20",
    "codeTextColor": "#e6e8eb",
}

OPTIONS: dict[str, str] = {
    "server.address": "127.0.0.1",
    "server.headless": "true",
    "server.fileWatcherType": "none",
    "server.runOnSave": "false",
    "browser.gatherUsageStats": "false",
    "client.showErrorDetails": "none",
    "client.showErrorLinks": "false",
    "client.toolbarMode": "minimal",
    "runner.magicEnabled": "false",
    "logger.level": "error",
    "theme.font": "sans-serif",
    "theme.codeFont": "monospace",
    "theme.baseFontSize": "14",
    "theme.baseRadius": "6px",
    "theme.showWidgetBorder": "true",
    **{f"theme.light.{name}": value for name, value in _LIGHT.items()},
    **{f"theme.dark.{name}": value for name, value in _DARK.items()},
}
"""Streamlit's options for the pages, all but the port: on loopback only, silent to the outside, in our colours."""


def streamlit_arguments(port: int, *, everywhere: bool = False) -> list[str]:
    """What follows `streamlit` on the command line: `run`, the pages, the options. Holds no secret."""
    flags = {**OPTIONS, "server.port": str(port)}
    if everywhere:
        flags["server.address"] = "0.0.0.0"
    return ["run", str(APP), *(f"--{name}={value}" for name, value in flags.items())]
