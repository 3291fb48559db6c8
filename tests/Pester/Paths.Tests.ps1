BeforeAll {
    . (Join-Path $PSScriptRoot 'Common.ps1')
    $folder = Join-Path $TestDrive 'paths'
    New-SourceTree (Join-Path $folder 'source')
    $image = (New-BackupImage (Join-Path $folder 'source') (Join-Path $folder 'image.dmg')).Path
    $away = [Environment]::CurrentDirectory
    $listed = { Get-ChildItem $folder -Recurse -Force | ForEach-Object FullName }
}

Describe 'Paths that are relative' {
    It 'go by the location of PowerShell, not by the folder of the process: <Name>' -ForEach @(
        @{ Name = '-Path'; Command = { (Get-BackupImage image.dmg).Path } }
        @{ Name = '-LiteralPath'; Command = { (Get-BackupImage -LiteralPath image.dmg).Path } }
        @{ Name = 'of a provider'; Command = { (Get-BackupImage -LiteralPath 'FileSystem::image.dmg').Path } }
        @{ Name = 'the destination of a backup'; Command = { $null = New-BackupImage source other.dmg; (Get-Item other.dmg).FullName } }
        @{ Name = 'the destination of a restore'; Command = { $null = Restore-BackupImage image.dmg restored; (Get-Item restored).FullName } }
        @{ Name = 'the destination of a conversion'; Command = { $null = ConvertTo-ReadOnlyImage image.dmg converted.dmg; (Get-Item converted.dmg).FullName } }
    ) {
        $elsewhere = Join-Path $TestDrive 'elsewhere'
        $null = New-Item $elsewhere -ItemType Directory -Force
        Push-Location $folder
        [Environment]::CurrentDirectory = $elsewhere
        try { & $Command | Should -BeLike (Join-Path $folder '*') }
        finally {
            [Environment]::CurrentDirectory = $away
            Pop-Location
        }
        Get-ChildItem $elsewhere | Should -BeNullOrEmpty
    }
}

Describe 'A path of another system, <Path>,' -Skip:$IsWindows -ForEach @(
    @{ Path = '\\server\share\x.dmg' }, @{ Path = '\\server\share\*.dmg' }, @{ Path = 'FileSystem::\\server\share\x.dmg' }, @{ Path = 'Z:\x.dmg' }, @{ Path = 'Z:/x.dmg' }
    @{ Path = 'FileSystem::Z:\x.dmg' }, @{ Path = 'smb://server/share/x.dmg' }, @{ Path = 'file:///tmp/x.dmg' }, @{ Path = 'nodrive:x.dmg' }, @{ Path = 'noprovider::x.dmg' }
    @{ Path = 'Env:PATH' }, @{ Path = "null`0.dmg" }
) {
    It 'is refused by <Name>, and nothing is made of it' -ForEach @(
        @{ Name = '-Path'; Command = { Get-BackupImage $Path -ErrorAction Stop } }
        @{ Name = '-LiteralPath'; Command = { Get-BackupImage -LiteralPath $Path -ErrorAction Stop } }
        @{ Name = '-SourcePath'; Command = { New-BackupImage $Path new.dmg } }
        @{ Name = '-Path of a new image'; Command = { New-BackupImage source $Path } }
        @{ Name = '-DestinationPath of Restore-BackupImage'; Command = { Restore-BackupImage $image $Path -ErrorAction Stop } }
        @{ Name = '-DestinationPath of ConvertTo-ReadOnlyImage'; Command = { ConvertTo-ReadOnlyImage $image $Path -ErrorAction Stop } }
    ) {
        Push-Location $folder
        [Environment]::CurrentDirectory = $folder
        $before = & $listed
        try {
            $failure = $Command | Should -Throw -ErrorId 'InvalidArgument,*' -PassThru
            $failure.ErrorDetails.RecommendedAction | Should -Not -BeNullOrEmpty
        }
        finally {
            [Environment]::CurrentDirectory = $away
            Pop-Location
        }
        & $listed | Should -Be $before
    }
}

Describe 'A share of Windows' -Skip:$IsWindows {
    It 'is to be mounted, says the error' {
        $failure = { New-BackupImage $folder '\\server\share\x.dmg' } | Should -Throw -ErrorId 'InvalidArgument,*' -PassThru
        $failure.ErrorDetails.RecommendedAction | Should -Match 'Mount the share and give its path'
        $failure.TargetObject | Should -Be '\\server\share\x.dmg'
    }

    It 'may be a drive of PowerShell' {
        $null = New-PSDrive Z -PSProvider FileSystem -Root $folder
        try { (Get-BackupImage Z:\image.dmg).Path | Should -Be $image }
        finally { Remove-PSDrive Z }
    }
}

Describe 'A file whose name has a backslash or a colon' -Skip:$IsWindows {
    BeforeAll {
        $odd = foreach ($name in 'back\slash.dmg', 'co:lon.dmg', '\\server\share.dmg', 'c:\x.dmg') {
            [IO.File]::Copy($image, [IO.Path]::Combine($folder, $name))
            $name
        }
    }
    AfterAll { foreach ($name in $odd) { [IO.File]::Delete([IO.Path]::Combine($folder, $name)) } }

    It 'is found where it is, whole or from the location' {
        Push-Location $folder
        try {
            foreach ($name in $odd) {
                (Get-BackupImage -LiteralPath $name).Path | Should -Be ([IO.Path]::Combine($folder, $name))
                (Get-BackupImage -LiteralPath ([IO.Path]::Combine($folder, $name))).Path | Should -Be ([IO.Path]::Combine($folder, $name))
                ([IO.FileInfo]::new([IO.Path]::Combine($folder, $name)) | Get-BackupImage).Path | Should -Be ([IO.Path]::Combine($folder, $name))
            }
        }
        finally { Pop-Location }
    }
}
