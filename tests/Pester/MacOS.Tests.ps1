# What only a Mac can say: its own tools mount, check and verify the images. Run on macOS, where hdiutil is.
BeforeAll {
    . (Join-Path $PSScriptRoot 'Common.ps1')
    $source = Join-Path $TestDrive 'Documents'
    New-SourceTree $source
}

Describe 'macOS and a <Format>' -Tag MacOS -ForEach @(
    @{ Format = 'Sparse'; Name = 'a.sparseimage' }
    @{ Format = 'SparseBundle'; Name = 'a.sparsebundle' }
    @{ Format = 'ReadWrite'; Name = 'rw.dmg' }
    @{ Format = 'ReadOnly'; Name = 'ro.dmg' }
    @{ Format = 'ReadOnlyZlib'; Name = 'z.dmg' }
) {
    BeforeAll {
        $image = (New-BackupImage $source (Join-Path $TestDrive $Name) -Format $Format -SizeBytes 256MB -VolumeName 'Mac Test').Path
        $readOnly = $Format -like 'ReadOnly*'
    }

    It 'attaches it, mounts the volume and reads every file' {
        $mount = Join-Path $TestDrive "mount-$Format"
        $null = New-Item $mount -ItemType Directory
        $device = $null
        try {
            $plist = & hdiutil attach -plist -nobrowse -readonly -mountpoint $mount $image | Out-String
            $LASTEXITCODE | Should -Be 0
            $device = [regex]::Matches($plist, '/dev/disk\d+') | ForEach-Object Value | Select-Object -First 1
            $hidden = '.fseventsd', '.Trashes', '.Spotlight-V100'
            $seen = Get-TreeDigest $mount | Where-Object { $_.Split('/')[0] -notin $hidden }
            $seen | Should -Be (Get-TreeDigest $source)
            (Get-Item (Join-Path $mount 'report.txt')).UnixMode | Should -Be '-rwxr-x--x'
            (Get-Item (Join-Path $mount 'link')).LinkTarget | Should -Be 'notes/draft.tmp'
        }
        finally { if ($device) { & hdiutil detach $device -force | Out-Null } }
    }

    It 'finds nothing wrong with the volume' {
        $device = $null
        try {
            $lines = & hdiutil attach -nomount -readonly $image
            $LASTEXITCODE | Should -Be 0
            $device = ($lines | Select-Object -First 1).Split()[0]
            $slice = ($lines | Where-Object { $_ -match 'Apple_HFS' }).Split()[0]
            & /sbin/fsck_hfs -fn $slice | Out-String | Write-Verbose
            $LASTEXITCODE | Should -Be 0
        }
        finally { if ($device) { & hdiutil detach $device -force | Out-Null } }
    }

    It 'verifies the checksums' -Skip:($Format -notlike 'ReadOnly*') {
        & hdiutil verify $image 2>&1 | Out-String | Write-Verbose
        $LASTEXITCODE | Should -Be 0
    }

    It 'writes to it, and it still reads' -Skip:($Format -like 'ReadOnly*') {
        $mount = Join-Path $TestDrive "write-$Format"
        $null = New-Item $mount -ItemType Directory
        & hdiutil attach -nobrowse -mountpoint $mount $image | Out-Null
        $LASTEXITCODE | Should -Be 0
        try { Set-Content (Join-Path $mount 'written by macOS.txt') 'hello' }
        finally { & hdiutil detach $mount -force | Out-Null }
        (Get-BackupImageItem $image -Include 'written by macOS.txt').SizeBytes | Should -Be 6
    }

    It 'recognises the format' {
        & hdiutil imageinfo -format $image | Should -Be (Get-BackupImage $image).FormatCode
    }
}
