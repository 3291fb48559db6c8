BeforeAll {
    . (Join-Path $PSScriptRoot 'Common.ps1')
    $source = Join-Path $TestDrive 'Documents'
    New-SourceTree $source
    $disk = (New-BackupImage $source (Join-Path $TestDrive 'd.dmg')).Path
}

Describe 'Restore-BackupImage' {
    It 'restores every file with its content, and says what it did' {
        $target = Join-Path $TestDrive 'all'
        $result = Restore-BackupImage $disk $target
        $result | Should -BeOfType CCImage.ImageRestoreResult
        $result.Path | Should -Be $disk
        $result.DestinationPath | Should -Be $target
        $result.Entries | Should -Be @(Get-ChildItem $source -Recurse -Force).Count
        Get-TreeDigest $target | Should -Be (Get-TreeDigest $source)
    }

    It 'restores modes, dates and links' -Skip:$IsWindows {
        $target = Join-Path $TestDrive 'meta'
        $null = Restore-BackupImage $disk $target
        (Get-Item (Join-Path $target 'report.txt')).UnixMode | Should -Be '-rwxr-x--x'
        (Get-Item (Join-Path $target 'link')).LinkTarget | Should -Be 'notes/draft.tmp'
        $difference = (Get-Item (Join-Path $target 'report.txt')).LastWriteTimeUtc - (Get-Item (Join-Path $source 'report.txt')).LastWriteTimeUtc
        [Math]::Abs($difference.TotalSeconds) | Should -BeLessThan 1
    }

    It 'restores what is chosen' {
        $target = Join-Path $TestDrive 'some'
        $null = Restore-BackupImage $disk $target -Include *.tmp
        (Get-ChildItem $target -Recurse -File).Name | Should -Be 'draft.tmp'
    }

    It 'does not replace files unless forced' {
        $target = Join-Path $TestDrive 'twice'
        $null = Restore-BackupImage $disk $target
        Set-Content (Join-Path $target 'report.txt') 'changed'
        { Restore-BackupImage $disk $target -ErrorAction Stop } | Should -Throw -ErrorId 'DestinationExists,*'
        Get-Content (Join-Path $target 'report.txt') | Should -Be 'changed'
        $null = Restore-BackupImage $disk $target -Force
        Get-TreeDigest $target | Should -Be (Get-TreeDigest $source)
    }

    It 'writes nothing with -WhatIf' {
        $null = Restore-BackupImage $disk (Join-Path $TestDrive 'none') -WhatIf
        Test-Path (Join-Path $TestDrive 'none') | Should -BeFalse
    }

    It 'says ImageNotFound for a file that is not there' {
        { Restore-BackupImage (Join-Path $TestDrive 'nosuch.dmg') (Join-Path $TestDrive 'x') -ErrorAction Stop } | Should -Throw -ErrorId 'ImageNotFound,*'
    }

    It 'says VolumeNotFound for a volume that is not there' {
        { Restore-BackupImage $disk (Join-Path $TestDrive 'x') -Volume 7 -ErrorAction Stop } | Should -Throw -ErrorId 'VolumeNotFound,*'
    }

    It 'restores from an image that does not fit its checksums, and ends with an error' {
        $damaged = Join-Path $TestDrive 'damaged.dmg'
        $null = ConvertTo-ReadOnlyImage $disk $damaged -Format ReadOnly
        $bytes = [IO.File]::ReadAllBytes($damaged)
        $bytes[[int]($bytes.Length / 2)] = $bytes[[int]($bytes.Length / 2)] -bxor 4
        [IO.File]::WriteAllBytes($damaged, $bytes)
        $result = Restore-BackupImage $damaged (Join-Path $TestDrive 'doubtful') -ErrorVariable errors -ErrorAction SilentlyContinue
        $result.Entries | Should -BeGreaterThan 0
        $errors[0].FullyQualifiedErrorId | Should -BeLike 'ChecksumMismatch,*'
    }
}
