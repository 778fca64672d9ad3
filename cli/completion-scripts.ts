/** The three shells' sides of completion. */

/** bash 4 and later; works with and without the bash-completion package. */
const bash = String.raw`# bash completion for manyworlds
_manyworlds() {
  local current="${"$"}{COMP_WORDS[COMP_CWORD]}" words=() line
  # bash parts "--flag=value" and "image:tag" at COMP_WORDBREAKS: read the line itself
  read -r -a words <<< "${"$"}{COMP_LINE:0:COMP_POINT}"
  [[ "${"$"}{COMP_LINE:0:COMP_POINT}" == *" " ]] && words+=("")
  local whole="${"$"}{words[-1]}"
  COMPREPLY=()
  while IFS=${"$"}'\t' read -r line _; do
    case "$line" in
      :files) compopt -o filenames 2>/dev/null
              COMPREPLY+=(${"$"}(compgen -f -- "$current")) ;;
      "$whole"*) COMPREPLY+=("$current${"$"}{line#"$whole"}") ;;
    esac
  done < <(command manyworlds __complete -- "${"$"}{words[@]:1}" 2>/dev/null)
}
complete -F _manyworlds manyworlds
`;

const zsh = String.raw`#compdef manyworlds
_manyworlds() {
  local -a lines described
  local line word text files
  lines=("${"$"}{(@f)$(command manyworlds __complete -- "${"$"}{(@)words[2,CURRENT]}" 2>/dev/null)}")
  for line in $lines; do
    [[ $line == :files ]] && { files=1; continue }
    word=${"$"}{line%%$'\t'*}; text=${"$"}{line#*$'\t'}
    described+=("${"$"}{word//:/\\:}:$text")
  done
  (( $#described )) && _describe 'manyworlds' described
  [[ -n $files ]] && _files
}
[[ $funcstack[1] == _manyworlds ]] && _manyworlds "$@" || compdef _manyworlds manyworlds
`;

const fish = `# fish completion for manyworlds
function __manyworlds_complete
  set -l words (commandline -opc) (commandline -ct)
  for line in (command manyworlds __complete -- $words[2..-1] 2>/dev/null)
    if test "$line" = ":files"
      __fish_complete_path (commandline -ct)
    else
      echo $line
    end
  end
end
complete -c manyworlds -f -a '(__manyworlds_complete)'
`;

export const completionScripts: Readonly<Record<string, string>> = { bash, zsh, fish };
