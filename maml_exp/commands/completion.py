"""`maml-exp completion`: what has bash complete verbs, their options and run folders, beside Hydra's settings."""

from __future__ import annotations

from collections.abc import Sequence

from maml_exp.commands import VERBS, parser_of
from maml_exp.config.usual import GROUPS

# Settings are Hydra's to complete: `maml-exp -sc query=bash` answers for the line in COMP_LINE. A verb's options are
# read off its help, so that they stand in one place.
BASH = r"""_maml_exp_settings() {
    COMP_LINE="$1 $2" COMP_POINT=$((${#1} + ${#2} + 1)) "$1" -sc query=bash 2>/dev/null
}

_maml_exp_folders() {
    local folder
    type compopt &>/dev/null && compopt -o filenames 2>/dev/null
    while IFS= read -r folder; do
        COMPREPLY+=("$folder")
    done < <([ -f "${1%/*}/.hydra/config.yaml" ] || compgen "$2" -- "$1")
}

_maml_exp() {
    local word="${COMP_WORDS[COMP_CWORD]}" before="${COMP_WORDS[COMP_CWORD-1]}" verb="${COMP_WORDS[1]}"
    local verbs="@VERBS@" choices=""
    COMPREPLY=()
    if [ "$COMP_CWORD" -eq 1 ]; then
        choices="$verbs help"
        case "$word" in
            -*) choices="--help --version --quiet --multirun --cfg" ;;
            ?*) choices="$choices $(_maml_exp_settings "$1" "$word")" ;;
        esac
    elif [[ " $verbs help " != *" $verb "* ]]; then
        choices="$(_maml_exp_settings "$1" "${COMP_WORDS[*]:1:COMP_CWORD}")"
    elif [[ "$word" == -* ]]; then
        choices="$("$1" "$verb" --help 2>/dev/null | grep -oE -e '--[a-z-]+' | sort -u)"
    elif [ "$before" = --where ]; then
        choices="$(_maml_exp_settings "$1" "$word")"
    else
        case "$verb:$COMP_CWORD" in
            help:*) choices="$verbs" ;;
            settings:*) choices="@GROUPS@" ;;
            completion:*) choices="bash" ;;
            rerun:2 | adapt:2) _maml_exp_folders "$word" -d ;;
            rerun:* | gradcheck:*) choices="$(_maml_exp_settings "$1" "$word")" ;;
            adapt:*) _maml_exp_folders "$word" -f ;;
            *) _maml_exp_folders "$word" -d ;;
        esac
    fi
    if [ -n "$choices" ]; then
        COMPREPLY=($(compgen -W "$choices" -- "$word"))
        [ "${#COMPREPLY[@]}" -eq 1 ] && [[ "${COMPREPLY[0]}" != *[=./] ]] && COMPREPLY[0]="${COMPREPLY[0]} "
    fi
}

COMP_WORDBREAKS=${COMP_WORDBREAKS//=}
complete -o nospace -F _maml_exp maml-exp
"""


def run_completion(arguments: Sequence[str]) -> int:
    """Print what has the shell complete: put  eval "$(maml-exp completion bash)"  into ~/.bashrc."""
    parser = parser_of("completion", run_completion)
    parser.add_argument("shell", choices=["bash"], help="for zsh and fish Hydra completes settings: maml-exp -sc")
    parser.parse_args(arguments)
    print(script())
    return 0


def script() -> str:
    """The functions for bash."""
    groups = " ".join(group for group in GROUPS if group != "experiment")
    return BASH.replace("@VERBS@", " ".join(VERBS)).replace("@GROUPS@", groups)
