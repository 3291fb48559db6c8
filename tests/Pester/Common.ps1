# What every test file begins with: the built module, and places to play in.
$ErrorActionPreference = 'Stop'
$script:RepositoryRoot = (Resolve-Path (Join-Path $PSScriptRoot '../..')).Path
$script:ManifestPath = Join-Path $RepositoryRoot 'CCImage.psd1'
Import-Module $ManifestPath -Force

# Runs a script in a PowerShell of its own, with nothing to read; also where this one was started as a .NET tool.
function Invoke-PowerShell([string] $Script, [string[]] $Arguments = '-NonInteractive') {
    $entry = [Environment]::GetCommandLineArgs()[0]
    $own = [IO.Path]::GetFileNameWithoutExtension([Environment]::ProcessPath) -eq 'dotnet' ? @($entry) : @()
    $null | & ([Environment]::ProcessPath) @own -NoProfile @Arguments -Command $Script | Out-String
}

# The parameter names of a cmdlet that are its own.
function Get-OwnParameter([Management.Automation.CommandInfo] $Command) {
    $common = [Management.Automation.Cmdlet]::CommonParameters
    $Command.Parameters.Values | Where-Object Name -notin $common
}

# A tree with the oddities that every host can hold, and some that only POSIX hosts can.
function New-SourceTree([string] $Path) {
    $Path = $ExecutionContext.SessionState.Path.GetUnresolvedProviderPathFromPSPath($Path)
    $null = New-Item $Path, (Join-Path $Path 'notes'), (Join-Path $Path 'cache'), (Join-Path $Path 'empty folder') -ItemType Directory -Force
    Set-Content (Join-Path $Path 'report.txt') ('The quarterly report. ' * 500)
    Set-Content (Join-Path $Path 'notes/ünïcode — ℃.txt') 'Names are decomposed on HFS+.'
    Set-Content (Join-Path $Path 'notes/draft.tmp') 'to be left out'
    Set-Content (Join-Path $Path 'cache/index') 'to be left out'
    $null = New-Item (Join-Path $Path 'empty') -ItemType File -Force
    $noise = [byte[]]::new(300000)
    [Random]::new(7).NextBytes($noise)
    [IO.File]::WriteAllBytes((Join-Path $Path 'noise.bin'), $noise)
    if (-not $IsWindows) {
        $null = New-Item (Join-Path $Path 'link') -ItemType SymbolicLink -Value 'notes/draft.tmp' -Force
        & chmod 751 (Join-Path $Path 'report.txt')
    }
}

# The folder that the examples of the help pages are run in.
function New-Playground([string] $Path) {
    $null = New-Item $Path, (Join-Path $Path 'Backups'), (Join-Path $Path 'Archive'), (Join-Path $Path 'Vault') -ItemType Directory -Force
    New-SourceTree (Join-Path $Path 'Documents')
    New-SourceTree (Join-Path $Path 'Projects/Alpha')
    New-SourceTree (Join-Path $Path 'Projects/Beta')
    $documents = Join-Path $Path 'Documents'
    $null = New-BackupImage $documents (Join-Path $Path 'Backups/Disk.dmg')
    $null = New-BackupImage $documents (Join-Path $Path 'Backups/Documents.sparsebundle') -SizeBytes 64MB
    $null = New-BackupImage $documents (Join-Path $Path 'Backups/Photos.sparseimage') -SizeBytes 64MB
    $locked = @{ Encryption = 'Aes128'; Passphrase = Get-Secret BackupPassphrase }
    $null = New-BackupImage $documents (Join-Path $Path 'Vault/Secret.dmg') @locked
    $null = New-BackupImage $documents (Join-Path $Path 'Vault/Secret.sparsebundle') -SizeBytes 64MB @locked
}

# Stands for Get-Secret of Microsoft.PowerShell.SecretManagement, which tests do without: another secret for each name.
function Get-Secret([Parameter(Mandatory)] [string] $Name) { ConvertTo-SecureString "the secret $Name" -AsPlainText -Force }

# "path <tab> length <tab> hash" of all files, sorted: two trees are alike when these are equal. Names are compared composed.
function Get-TreeDigest([string] $Path) {
    $root = (Resolve-Path -LiteralPath $Path).Path
    Get-ChildItem -LiteralPath $root -Recurse -Force -File | Where-Object { -not $_.LinkType -or $_.LinkType -eq 'HardLink' } | ForEach-Object {
        $name = [IO.Path]::GetRelativePath($root, $_.FullName).Replace('\', '/').Normalize('FormC')
        "$name`t$($_.Length)`t$((Get-FileHash -LiteralPath $_.FullName).Hash)"
    } | Sort-Object -CaseSensitive
}

# An object as it comes out of a job or a remote session.
function ConvertTo-Deserialised([Parameter(ValueFromPipeline)] $InputObject) {
    process { [Management.Automation.PSSerializer]::Deserialize([Management.Automation.PSSerializer]::Serialize($InputObject, 2)) }
}
