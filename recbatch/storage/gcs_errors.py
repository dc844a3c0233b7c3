"""What Google Cloud Storage can answer instead of doing its work, as sentences that say what to do. In one place."""

from __future__ import annotations

import contextlib
import errno
import functools
import os
from collections.abc import Callable, Iterator
from typing import Any, NoReturn, ParamSpec, TypeVar

import requests
from google.api_core import exceptions as api
from google.auth import exceptions as auth
from google.cloud.storage.exceptions import DataCorruption, InvalidResponse

from recbatch.errors import InputError, RecbatchError

_LOGIN = (
    "run `gcloud auth application-default login`, or set GOOGLE_APPLICATION_CREDENTIALS to the key file of a service "
    "account"
)
_KNOWN = (api.GoogleAPIError, auth.GoogleAuthError, requests.RequestException, DataCorruption, InvalidResponse)

Parameters = ParamSpec("Parameters")
Result = TypeVar("Result")


def explained(function: Callable[Parameters, Result]) -> Callable[Parameters, Result]:
    """A function that raises what :func:`explaining` says; its first text argument is the URI that it is about."""

    @functools.wraps(function)
    def explaining_function(*args: Parameters.args, **kwargs: Parameters.kwargs) -> Result:
        with explaining(next(value for value in args if isinstance(value, str))):
            return function(*args, **kwargs)

    return explaining_function


@contextlib.contextmanager
def explaining(uri: str) -> Iterator[None]:
    """Raise the client library's errors as ours.

    Raises:
        FileNotFoundError: the object is not there.
        InputError: the bucket does not exist, there are no usable credentials, or they do not allow this.
        RecbatchError: the service could not be reached or kept failing; a rerun may do.
    """
    try:
        yield
    except _KNOWN as error:
        _raise(error, uri)


def _raise(error: Exception, uri: str) -> NoReturn:
    bucket = f"gs://{uri.removeprefix('gs://').partition('/')[0]}"
    match error:
        case api.NotFound() if is_about_the_bucket(error):
            raise InputError(
                f"{uri}: the bucket {bucket} does not exist; correct its name, or make it with "
                f"`gcloud storage buckets create {bucket}`"
            ) from error
        case api.NotFound():
            raise absent(uri) from error
        case api.Unauthorized():
            raise InputError(f"{uri}: the credentials were not accepted ({_reason(error)}); {_LOGIN}") from error
        case api.Forbidden():
            raise InputError(
                f"{uri}: access was refused ({_reason(error)}); let an owner of {bucket} grant you the role "
                f"roles/storage.objectUser, or use another account: {_LOGIN}"
            ) from error
        case api.BadRequest():
            raise InputError(f"{uri}: Google Cloud Storage refused the name or request ({_reason(error)})") from error
        case auth.TransportError():
            raise _unreachable(uri, error) from error
        case auth.DefaultCredentialsError():
            raise InputError(f"{uri}: there are no Google Cloud credentials ({_reason(error)}); {_LOGIN}") from error
        case auth.GoogleAuthError():
            raise InputError(f"{uri}: the credentials cannot be used ({_reason(error)}); {_LOGIN}") from error
        case api.RetryError():
            raise _unreachable(uri, error.cause or error) from error
        case DataCorruption():
            raise RecbatchError(f"{uri}: it was damaged on its way ({_reason(error)}); run again") from error
    raise _unreachable(uri, error) from error


def absent(uri: str) -> FileNotFoundError:
    """The error of a local file that is not there, for an object."""
    return FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), uri)


def is_about_the_bucket(error: api.NotFound) -> bool:
    """Whether it is the bucket that was not found; the service tells only in its words."""
    return "bucket does not exist" in _reason(error)


def _unreachable(uri: str, error: Exception) -> RecbatchError:
    return RecbatchError(
        f"{uri}: Google Cloud Storage could not be reached or kept failing ({_reason(error)}); what is done so far is "
        f"stored, run the same command again"
    )


def _reason(error: Exception) -> str:
    """The service's own words, without the request's address; of a library's message the first sentence."""
    response: Any = getattr(error, "response", None)
    text = response.text.strip() if isinstance(response, requests.Response) else ""
    if text:
        with contextlib.suppress(ValueError, KeyError, TypeError):
            return str(response.json()["error"]["message"]).rstrip(".")
        return str(text.splitlines()[0].rstrip("."))
    words = str(error) or type(error).__name__
    return words.splitlines()[0].split(". ")[0].rstrip(".")
