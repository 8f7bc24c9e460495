"""The keys of the Chat place; the texts are its manual."""

from __future__ import annotations

from textual.binding import Binding, BindingType

CHAT_KEYS: list[BindingType] = [
    Binding("escape", "stop", "Stop", id="chat.stop", tooltip="Stop what goes on"),
    Binding("ctrl+r", "again", "Again", id="chat.again", tooltip="Answer the last question anew"),
    Binding(
        "ctrl+e",
        "edit",
        "Edit",
        priority=True,  # the prompt's own are the end of the line and redo
        id="chat.edit",
        tooltip="Change the last question; its answer is replaced",
    ),
    Binding(
        "ctrl+y",
        "copy",
        "Copy",
        priority=True,
        id="chat.copy",
        tooltip="Copy the last answer, a block of code, or the conversation",
    ),
    Binding("ctrl+n", "new", "New", id="chat.new", tooltip="Begin a new conversation"),
    Binding(
        "ctrl+o",
        "conversations",
        "Conversations",
        id="chat.conversations",
        tooltip="Go on with an earlier conversation, found by what was said in it",
    ),
    Binding(
        "ctrl+s",
        "settings",
        "Settings",
        show=False,
        id="chat.settings",
        tooltip="Change how answers are drawn and shown: temp, seed, max_tokens, think ...",
    ),
    Binding(
        "ctrl+t",
        "system",
        "System prompt",
        show=False,
        id="chat.system",
        tooltip="Change what the model is told before all that is said",
    ),
    Binding(
        "ctrl+l",
        "model",
        "Model",
        show=False,
        id="chat.model",
        tooltip="Talk to another model of those that are here",
    ),
    Binding(
        "ctrl+g",
        "figures",
        "Figures",
        show=False,
        id="chat.figures",
        tooltip="Show the run's figures beside the conversation, or leave it all the room",
    ),
    Binding(
        "f7",
        "stats",
        "All figures",
        show=False,
        priority=True,
        id="chat.stats",
        tooltip="Show all figures of this chat, as /stats has them",
    ),
    Binding("pageup", "page(-1)", "Up", show=False, priority=True, id="chat.page_up"),
    Binding("pagedown", "page(1)", "Down", show=False, priority=True, id="chat.page_down"),
]
