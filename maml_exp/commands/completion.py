"""`maml-exp completion`: what has a shell complete verbs, their options and run folders, beside Hydra's settings."""

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
            completion:*) choices="bash zsh fish" ;;
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

# zsh runs bash's functions itself
ZSH = """(( $+functions[compdef] )) || { autoload -Uz compinit && compinit }
autoload -U +X bashcompinit && bashcompinit
"""
# fish has bash run them, on the words before the cursor and the one at it
FISH = r"""set -g __maml_exp_bash @BASH@
complete -c maml-exp -f -a '(bash --norc -c $__maml_exp_bash bash (commandline -opc) "$(commandline -ct)")'
"""
ANSWER = r"""COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1))
_maml_exp "$1"
[ "${#COMPREPLY[@]}" -eq 0 ] || printf '%s\n' "${COMPREPLY[@]% }"
"""


def run_completion(arguments: Sequence[str]) -> int:
    """Print what has the shell complete: put  eval "$(maml-exp completion bash)"  into ~/.bashrc.

    For zsh the same with zsh into ~/.zshrc; for fish  maml-exp completion fish | source  into config.fish.
    """
    parser = parser_of("completion", run_completion)
    parser.add_argument("shell", choices=["bash", "zsh", "fish"], help="fish needs bash, too")
    shell = parser.parse_args(arguments).shell
    print({"bash": script, "zsh": lambda: ZSH + script(), "fish": _for_fish}[shell]())
    return 0


def script() -> str:
    """The functions for bash."""
    groups = " ".join(group for group in GROUPS if group != "experiment")
    return BASH.replace("@VERBS@", " ".join(VERBS)).replace("@GROUPS@", groups)


def _for_fish() -> str:
    quoted = (script() + ANSWER).replace("\\", "\\\\").replace("'", "\\'")
    return FISH.replace("@BASH@", f"'{quoted}'")
