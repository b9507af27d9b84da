"""Every setting of the server, typed, from the environment (BANYAN_...) or one TOML file (named by BANYAN_CONFIG).

Read once, by api.wiring only. The environment wins over the file. docs/reference/settings.md is generated from here.
"""

from __future__ import annotations

import os
from pathlib import Path

from pydantic import Field, ValidationError
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict, TomlConfigSettingsSource

from core.errors import Invalid


class Settings(BaseSettings):
    """The settings tree; frozen after reading."""

    model_config = SettingsConfigDict(env_prefix="BANYAN_", frozen=True, extra="forbid")

    state_folder: Path = Field(Path("banyan-state"), description="Where database, encrypted blocks and keys lie.")
    database_url: str | None = Field(None, description="sqlite:///path; by default banyan.db in the state folder.")
    signer_folder: Path | None = Field(
        None,
        description="The log's signing key and its newest checkpoint. Keep it outside the backups of the database: a restored "
        "database must not bring an old checkpoint with it. By default `signer` in the state folder.",
    )
    master_key_file: Path | None = Field(
        None, description="32 random bytes, mode 0400; by default `master.key` in the state folder."
    )
    staging_folder: Path = Field(
        Path("/dev/shm"),  # noqa: S108 - a tmpfs is what it must be
        description="A tmpfs for plaintext in use: uploads and decrypted blocks.",
    )
    host: str = Field("127.0.0.1", description="Address the API listens on.")
    port: int = Field(8421, ge=0, le=65535, description="Port of the API.")
    origin: str = Field(
        "banyan.local/log", pattern=r"^[a-z0-9./-]{1,100}$", description="Name of the log in its checkpoints."
    )
    engine: str = Field("unix:///var/run/docker.sock", description="The Docker engine's socket.")
    images_file: Path = Field(
        Path(".banyan/images.json"), description="Written by the image build: which image id is which."
    )
    oci_runtime: str | None = Field(
        None,
        pattern=r"^[a-z][a-z0-9-]{0,40}$",
        description="OCI runtime of the containers that run programs, such as runsc; the engine must know it. By default the engine's own.",
    )
    key_holder_url: str | None = Field(
        None,
        description="Where the key holder answers, such as http://127.0.0.1:8431; needed for encrypted assets only.",
    )
    key_holder_signer: str | None = Field(
        None,
        pattern=r"^[A-Za-z0-9+/]{43}=$",
        description="The key holder's public signing key, as banyan-keyholder init shows it. Get it from its operator, not from the URL.",
    )
    lanes: int = Field(2, ge=1, le=64, description="Containers that run at the same time, each with a core of its own.")
    lane_memory_bytes: int = Field(
        1 << 30, ge=256 << 20, description="Memory (and swap) of one lane's container, in bytes."
    )
    upload_bytes: int = Field(2 << 30, ge=1, description="Largest file that can be ingested, in bytes.")
    start_seconds: float = Field(
        1.0,
        gt=0,
        description="Planned worst case from start to first row, in seconds: container, imports, scheduling. Measure with `doctor`.",
    )
    slowness: float = Field(
        1.0,
        gt=0,
        le=100,
        description="How many times slower this node is than the machine on which the planned costs were measured.",
    )
    cancel_seconds: float = Field(
        3.0, gt=0, description="CANCELLED is shown this many seconds after the request, whatever runs."
    )
    token_days: int = Field(90, ge=1, le=366, description="Life of a new token, in days.")

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Arguments, then the environment, then the TOML file."""
        del dotenv_settings, file_secret_settings
        config = os.environ.get("BANYAN_CONFIG")
        toml = (TomlConfigSettingsSource(settings_cls, toml_file=config),) if config else ()
        return (init_settings, env_settings, *toml)

    @property
    def database(self) -> str:
        """The database's URL."""
        return self.database_url or f"sqlite:///{self.state_folder / 'banyan.db'}"

    @property
    def signer(self) -> Path:
        """The signer's folder."""
        return self.signer_folder or self.state_folder / "signer"

    @property
    def master_key(self) -> Path:
        """The master key's file."""
        return self.master_key_file or self.state_folder / "master.key"


def read_settings() -> Settings:
    """Read them. Raises Invalid (`settings.invalid`) that names each wrong field."""
    config = os.environ.get("BANYAN_CONFIG")
    if config and not Path(config).is_file():
        raise Invalid("settings.invalid", f"BANYAN_CONFIG names no file: {config}", where={"field": "BANYAN_CONFIG"})
    try:
        return Settings()
    except ValidationError as problem:
        first = problem.errors()[0]
        field = ".".join(str(part) for part in first["loc"])
        raise Invalid("settings.invalid", f"setting {field}: {first['msg']}", where={"field": field}) from None
    except ValueError as problem:
        raise Invalid(
            "settings.invalid", f"the settings file cannot be read: {problem}", where={"file": config}
        ) from None
