# SPDX-License-Identifier: MIT
# need PACKAGE... installs what a Debian machine lacks of them. On another
# system it says what it would have wanted, and configure finds out the rest.

missing_packages()
{
    for package in "$@"; do
        case $(dpkg-query -W -f '${Status}' "$package" 2> /dev/null) in
        'install ok installed') ;;
        *) echo "$package" ;;
        esac
    done
}

as_root()
{
    if [ "$(id -u)" -eq 0 ]; then
        "$@"
    else
        sudo "$@"
    fi
}

need()
{
    if ! command -v apt-get > /dev/null; then
        echo "No apt-get here; these Debian packages are needed: $*"
        return 0
    fi
    missing=$(missing_packages "$@" | tr '\n' ' ')
    [ -n "$missing" ] || return 0
    echo "Installing $missing"
    {
        as_root apt-get update &&
            as_root env DEBIAN_FRONTEND=noninteractive \
                apt-get install -y --no-install-recommends $missing
    } > build/apt.log 2>&1 && return 0
    tail -n 20 build/apt.log
    echo "apt-get could not install $missing"
    return 1
}
