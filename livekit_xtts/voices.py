"""The voice library: recordings become voices once, and voices have names.

    library = VoiceLibrary(engine)
    voice = await library.resolve_async("anna.wav")          # in an event loop
    library.add("anna", ["anna1.wav", "anna2.wav"]).result() # anywhere else
    voice = library.resolve("anna").result()

A voice is asked for as a name, a path (of a recording, or of an exported `.safetensors` voice), a
recording's bytes, a sequence of recordings that are taken together, or a `Voice`, which is checked
and returned. Names are looked up in this order: the library's own folder, the voices that come with
the package ("bundled/NAME" asks for those alone), the published studio speakers of XTTS-v2
("studio/NAME"). `resolve` takes server input with `paths=False`: then no text becomes a path.

Cloning happens once for the same recordings, model and settings: the result is kept in memory and
as a file in `FOLDER/computed`, named by a hash of what made it, so that other processes find it
too. Where the folder cannot be written the voice lives in memory alone.
"""

from __future__ import annotations

import asyncio
import threading
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, replace
from pathlib import Path

from livekit_xtts.cloning import Cloner
from livekit_xtts.engine.engine import Engine
from livekit_xtts.speech import ReferenceAudio, SpeechError, Voice, VoiceError
from livekit_xtts.storage import StorageError, home, safe_name
from livekit_xtts.voicefile import (
    STUDIO_FILE,
    SUFFIX,
    StoredVoice,
    is_voice_file,
    load_studio,
    load_voice,
    save_voice,
)
from livekit_xtts.voicesource import KINDS, VoiceSource, is_file, item_key, looks_like_path

__all__ = ["VoiceEntry", "VoiceLibrary", "VoiceSource"]

BUNDLED = Path(__file__).parent / "bundled" / "voices"
COMPUTED = "computed"
KEPT_IN_MEMORY = 128


@dataclass(frozen=True, slots=True)
class VoiceEntry:
    """One line of `VoiceLibrary.list`.

    Attributes:
        name: What to ask for.
        kind: "library", "bundled" or "studio".
        language: Language of its recordings; empty where unknown.
        usable: Whether it belongs to the engine's model; None where that is not known yet.
        problem: Why the file cannot be used; empty where it can.
    """

    name: str
    kind: str
    language: str = ""
    usable: bool | None = None
    problem: str = ""


class VoiceLibrary:
    """Resolves whatever names a voice, for one engine. Thread-safe and loop-agnostic.

    Args:
        engine: Clones, and says which model voices must belong to.
        folder: Where named voices are kept; `home()/voices` by default. Created when written to.
        model_folder: The model's folder, or its name where it was downloaded, for the studio
            speakers in its `speakers_xtts.pth`.
        clean: Trim silent ends and level recordings before cloning.
        bundled: Folder of the voices that come with the package.
    """

    def __init__(
        self,
        engine: Engine,
        folder: str | Path | None = None,
        *,
        model_folder: str | Path | None = None,
        clean: bool = False,
        bundled: Path | None = None,
    ) -> None:
        self._engine = engine
        self._chosen = None if folder is None else Path(folder)
        self._model_folder = model_folder
        self._cloner = Cloner(engine, lambda: self.folder / COMPUTED, clean=clean)
        self._bundled = BUNDLED if bundled is None else bundled
        self._lock = threading.Lock()
        self._known: OrderedDict[str, Future[Voice]] = OrderedDict()
        self._studio: dict[str, Voice] | None = None

    @property
    def folder(self) -> Path:
        """Where named voices are kept.

        Raises:
            StorageError: No folder was given and the user has no home.
        """
        return home() / "voices" if self._chosen is None else self._chosen

    def resolve(self, source: VoiceSource, *, paths: bool = True) -> Future[Voice]:
        """A voice for anything that names one; returns at once.

        Reading, decoding and cloning happen on a thread of their own; the first voice waits for the
        model to load, since a voice belongs to its model. Equal sources share one computation.

        Args:
            source: See the module.
            paths: False takes a string for a name alone, never for a path: for clients' input.

        Returns:
            Future of the voice. It fails with `VoiceError` (unknown, missing, empty, too short,
            silent, damaged, made for another model) or with what loading the engine raises.
            Failures are not remembered.
        """
        key = self._memory_key(source, paths)
        with self._lock:
            found = self._known.get(key) if key else None
            if found is not None:
                self._known.move_to_end(key)
                return found
            future: Future[Voice] = Future()
            future.set_running_or_notify_cancel()  # one waiter's cancel must not end it for all
            if key:
                self._known[key] = future
                while len(self._known) > KEPT_IN_MEMORY:
                    self._known.popitem(last=False)
        if isinstance(source, ReferenceAudio):
            source = [source]
        self._run(lambda: self._find(source, paths), future, key)
        return future

    async def resolve_async(self, source: VoiceSource, *, paths: bool = True) -> Voice:
        """`resolve` for an event loop: never blocks it, and a cancel leaves the work to others."""
        # The stat calls of the memory key may touch a slow disk.
        future = await asyncio.to_thread(self.resolve, source, paths=paths)
        return await asyncio.shield(asyncio.wrap_future(future))

    def add(
        self,
        name: str,
        source: VoiceSource,
        *,
        language: str = "",
        overwrite: bool = False,
    ) -> Future[Voice]:
        """Make a voice and keep it under a name; the future ends when the file is written.

        Args:
            name: Letters, digits, spaces, `_`, `-`, `.`; at most 64 characters.
            source: Recordings, or a `Voice`.
            language: Kept beside it, for lists.
            overwrite: Replace a voice of that name.

        Raises:
            VoiceError: The name cannot be a file's name, or is taken.
        """
        path = self._path(name)
        if path.exists() and not overwrite:
            raise VoiceError(f"there is a voice {name!r} already; remove it first, or overwrite it")

        def work() -> Voice:
            stored = self._find_stored(source, True)
            voice = replace(stored.voice, name=path.name.removesuffix(SUFFIX))
            save_voice(path, replace(stored, voice=voice, language=language or stored.language))
            self._forget()
            return voice

        future: Future[Voice] = Future()
        future.set_running_or_notify_cancel()
        self._run(work, future, "")
        return future

    def remove(self, name: str) -> None:
        """Delete a named voice of the library.

        Raises:
            VoiceError: There is none of that name in the library's folder.
        """
        try:
            self._path(name).unlink()
        except FileNotFoundError:
            raise VoiceError(
                f"there is no voice {name!r} in {self.folder}; see: livekit-xtts voices list"
            ) from None
        except OSError as error:
            raise VoiceError(f"voice {name!r} cannot be removed: {error.strerror}") from error
        self._forget()

    def export(self, name: str, target: str | Path, *, overwrite: bool = False) -> Path:
        """Write a voice of any kind to one file, for another machine with the same model.

        Waits for the engine to load, which says what the model is.

        Raises:
            VoiceError: Unknown voice, the file is there already, or cannot be written.
        """
        path = Path(target)
        if path.is_dir():
            path = path / f"{name.rpartition('/')[2]}{SUFFIX}"
        elif path.suffix != SUFFIX:  # by which it is known for a voice when it is asked for
            path = path.with_name(f"{path.name}{SUFFIX}")
        if path.exists() and not overwrite:
            raise VoiceError(f"{path} is there already; remove it first, or overwrite it")
        stored = self._named(name)
        save_voice(path, replace(stored, voice=self._find(stored.voice, False)))
        return path

    def import_voice(
        self, source: str | Path, *, name: str | None = None, overwrite: bool = False
    ) -> str:
        """Take an exported voice file into the library; returns its name.

        Raises:
            VoiceError: Missing or damaged, or the name is not usable or taken.
        """
        stored = load_voice(Path(source))
        path = self._path(name or stored.voice.name)
        if path.exists() and not overwrite:
            raise VoiceError(
                f"there is a voice {path.stem!r} already; give another name, or overwrite it"
            )
        chosen = path.name.removesuffix(SUFFIX)
        save_voice(path, replace(stored, voice=replace(stored.voice, name=chosen)))
        self._forget()
        return chosen

    def list(self) -> list[VoiceEntry]:
        """Every voice that has a name, sorted within its kind; damaged files say so."""
        entries = [
            self._entry(path, kind)
            for kind, folder in self._places().items()
            for path in sorted(folder.glob(f"*{SUFFIX}"))
        ]
        if self._studio_file() is not None:
            try:
                entries += [
                    VoiceEntry(name, "studio", usable=True) for name in sorted(self._speakers())
                ]
            except VoiceError as error:
                entries.append(VoiceEntry(STUDIO_FILE, "studio", usable=False, problem=str(error)))
        return entries

    # Names.

    def _places(self) -> dict[str, Path]:
        try:
            return {"library": self.folder, "bundled": self._bundled}
        except StorageError:
            return {"bundled": self._bundled}

    def _entry(self, path: Path, kind: str) -> VoiceEntry:
        name = path.name.removesuffix(SUFFIX)
        try:
            stored = load_voice(path, name=name)
        except VoiceError as error:
            return VoiceEntry(name, kind, usable=False, problem=str(error))
        usable = None
        if self._engine.ready:
            usable = stored.voice.model in ("", self._engine.info.fingerprint)
        return VoiceEntry(name, kind, stored.language, usable)

    def _path(self, name: str) -> Path:
        safe = safe_name(name)
        if safe is None:
            raise VoiceError(
                f"{name!r} cannot be a voice's name: use letters, digits, spaces, '_', '-' and '.',"
                " at most 64, beginning with a letter or digit"
            )
        return self.folder / f"{safe}{SUFFIX}"

    def _named(self, name: str) -> StoredVoice:
        kind, slash, rest = name.partition("/")
        places = self._places()
        if slash and kind in KINDS:
            wanted, places = rest, {key: value for key, value in places.items() if key == kind}
        else:
            wanted, kind = name, ""
        safe = safe_name(wanted)
        if safe is not None:
            for folder in places.values():
                if (path := folder / f"{safe}{SUFFIX}").is_file():
                    return load_voice(path, name=safe)
            if kind in ("", "studio") and wanted in (speakers := self._speakers()):
                return StoredVoice(speakers[wanted], source="published studio speaker")
        raise VoiceError(f"there is no voice {name!r}. Known: {self._known_names()}")

    def _known_names(self) -> str:
        names = [entry.name for entry in self.list() if not entry.problem]
        shown = ", ".join(names[:12]) + (f" and {len(names) - 12} more" if len(names) > 12 else "")
        return shown or "none yet; make one: livekit-xtts voices add NAME recording.wav"

    def _studio_file(self) -> Path | None:
        from livekit_xtts.download import find_model

        if self._model_folder is None:
            return None
        try:
            path = find_model(self._model_folder) / STUDIO_FILE
        except SpeechError:  # no folder: a random model, or one that loading will complain about
            path = Path(self._model_folder) / STUDIO_FILE
        return path if is_file(path) else None

    def _speakers(self) -> dict[str, Voice]:
        if self._studio is None:
            path = self._studio_file()
            if path is None:
                return {}
            self._studio = load_studio(path, "")
        return self._studio

    # Finding and making.

    def _find(self, source: VoiceSource, paths: bool) -> Voice:
        voice = self._find_stored(source, paths).voice
        self._engine.load()
        info = self._engine.info
        if not voice.model:  # published speakers do not say; they lie beside their model
            return replace(voice, model=info.fingerprint)
        if voice.model != info.fingerprint:
            raise VoiceError(
                f"voice {voice.name!r} was made with another model than {info.model!r}:"
                " make it again from its recordings (livekit-xtts voices add)"
            )
        return voice

    def _find_stored(self, source: VoiceSource, paths: bool) -> StoredVoice:
        if isinstance(source, Voice):
            return StoredVoice(source)
        if isinstance(source, bytes) and is_voice_file(source):
            return load_voice(source)
        if isinstance(source, str):
            if not paths or not looks_like_path(source):
                try:
                    return self._named(source)
                except VoiceError:
                    if not (paths and is_file(Path(source))):
                        raise
            source = Path(source)
        if isinstance(source, Path) and source.suffix == SUFFIX:
            return load_voice(source)
        many = [source] if isinstance(source, (Path, bytes, ReferenceAudio)) else list(source)
        if not paths and any(isinstance(recording, (str, Path)) for recording in many):
            raise VoiceError("recordings must be sent as bytes here, not named")
        return self._cloner.clone(many)

    # Work in the background.

    def _memory_key(self, source: VoiceSource, paths: bool) -> str:
        """Names equal work; empty where the work is not worth remembering."""
        if isinstance(source, Voice):
            return ""
        items = [source] if isinstance(source, (str, Path, bytes, ReferenceAudio)) else source
        keys = [item_key(item) for item in items]
        if isinstance(source, str) and (safe := safe_name(source)):
            # A name means another voice once its file is replaced.
            keys += [item_key(folder / f"{safe}{SUFFIX}") for folder in self._places().values()]
        return "\n".join([str(paths), *keys])

    def _forget(self) -> None:
        with self._lock:
            self._known = OrderedDict(
                (key, future) for key, future in self._known.items() if not future.done()
            )

    def _run(self, work: Callable[[], Voice], future: Future[Voice], key: str) -> None:
        def body() -> None:
            try:
                voice = work()
            except BaseException as error:
                with self._lock:
                    if self._known.get(key) is future:
                        del self._known[key]
                future.set_exception(error)
            else:
                future.set_result(voice)

        threading.Thread(target=body, name="xtts-voice", daemon=True).start()
