BeforeAll {
    . (Join-Path $PSScriptRoot 'Common.ps1')
    . (Join-Path $PSScriptRoot 'ScriptedHost.ps1')
    $folder = Join-Path $TestDrive 'mount'
    New-Playground $folder
    $disk = Join-Path $folder 'Backups/Disk.dmg'
    $bundle = Join-Path $folder 'Backups/Documents.sparsebundle'
    $documents = Join-Path $folder 'Documents'
    $hidden = '.fseventsd', '.Trashes', '.Spotlight-V100'
}

Describe 'Mount-BackupImage and Dismount-BackupImage elsewhere' -Skip:$IsMacOS {
    It '<_> says that it needs macOS, and what does not' -ForEach 'Mount-BackupImage', 'Dismount-BackupImage' {
        $failure = { & $_ $disk } | Should -Throw -ErrorId 'PlatformNotSupported,*' -PassThru
        $failure.ErrorDetails.RecommendedAction | Should -Match 'Restore-BackupImage'
        $failure.CategoryInfo.Category | Should -Be 'NotImplemented'
    }

    It '<_> says so before anything else, a path that is not there included' -ForEach 'Mount-BackupImage', 'Dismount-BackupImage' {
        { & $_ (Join-Path $folder 'nothing') -WhatIf } | Should -Throw -ErrorId 'PlatformNotSupported,*'
    }
}

Describe 'Mount-BackupImage and Dismount-BackupImage' -Tag MacOS {
    AfterEach {
        foreach ($image in Get-ChildItem (Join-Path $folder 'Backups')) { Dismount-BackupImage $image -Force -ErrorAction Ignore }
    }

    It 'mount, tell where, and dismount by the object' {
        $mounted = Mount-BackupImage $bundle -ReadOnly -PassThru
        $mounted.Path | Should -Be $bundle
        $mounted.Device | Should -Match '^/dev/disk\d+$'
        $mounted.MountPoints | Should -HaveCount 1
        Get-TreeDigest $mounted.MountPoints[0] | Where-Object { $_.Split('/')[0] -notin $hidden } | Should -Be (Get-TreeDigest $documents)
        (Get-BackupImage $bundle -ErrorAction Ignore).IsInUse | Should -Not -BeFalse
        $mounted | Dismount-BackupImage
        $mounted.MountPoints[0] | Should -Not -Exist
        (Get-BackupImage $bundle).IsInUse | Should -BeFalse
    }

    It 'mount read-only and out of sight, and dismount by the path of the image, from a job''s object too' {
        $mounted = Mount-BackupImage $disk -ReadOnly -NoBrowse -PassThru
        & mount | Where-Object { $_ -match [regex]::Escape($mounted.MountPoints[0]) } | Should -Match 'read-only.*nobrowse|nobrowse.*read-only'
        ($mounted | ConvertTo-Deserialised | Dismount-BackupImage -PassThru).Path | Should -Be $disk
    }

    It 'mount with a passphrase by <Name>' -ForEach @{ Name = 'a line'; Text = 'correct hörse' }, @{ Name = 'bytes with a line feed'; Text = "correct`nhorse" } {
        $secret = ConvertTo-SecureString $Text -AsPlainText -Force
        $path = (New-BackupImage $documents (Join-Path $folder "Backups/$Name.sparsebundle") -SizeBytes 64MB -Encryption Aes256 -Passphrase $secret).Path
        (Invoke-Unattended "Mount-BackupImage '$path'").ErrorIds | Should -Be 'PassphraseRequired'
        { Mount-BackupImage $path -Passphrase (ConvertTo-SecureString 'wrong' -AsPlainText -Force) -ErrorAction Stop } | Should -Throw -ErrorId 'WrongPassphrase,*'
        $mounted = Mount-BackupImage $path -Passphrase $secret -PassThru
        (Get-Item (Join-Path $mounted.MountPoints[0] 'report.txt')).Length | Should -Be (Get-Item (Join-Path $documents 'report.txt')).Length
        $mounted | Dismount-BackupImage
    }

    It 'keep what was written' {
        $mounted = Mount-BackupImage $bundle -PassThru
        Set-Content (Join-Path $mounted.MountPoints[0] 'new.txt') 'hello'
        Dismount-BackupImage $mounted.MountPoints[0]
        (Get-BackupImageItem $bundle -Include new.txt).SizeBytes | Should -Be 6
        Test-BackupImage $bundle | Should -BeTrue
    }

    It 'refuse to mount twice, to change what is mounted, and to dismount what is not' {
        Mount-BackupImage $bundle
        { Mount-BackupImage $bundle -ErrorAction Stop } | Should -Throw -ErrorId 'ImageInUse,*'
        { Resize-BackupImage $bundle -SizeBytes 128MB -ErrorAction Stop } | Should -Throw -ErrorId 'ImageInUse,*'
        Dismount-BackupImage $bundle
        { Dismount-BackupImage $bundle -ErrorAction Stop } | Should -Throw -ErrorId 'ImageNotMounted,*'
    }

    It 'say who is in the way, unless forced' {
        $mounted = Mount-BackupImage $bundle -PassThru
        $file = [IO.File]::Create((Join-Path $mounted.MountPoints[0] 'open.txt'))
        try {
            { Dismount-BackupImage $bundle -ErrorAction Stop } | Should -Throw -ErrorId 'ImageInUse,*'
            Dismount-BackupImage $bundle -Force
            $mounted.MountPoints[0] | Should -Not -Exist
        }
        finally {
            try { $file.Dispose() } catch { Write-Verbose "The volume is gone, and the last bytes with it: $_" }
        }
    }

    It 'do nothing with -WhatIf' {
        Mount-BackupImage $bundle -WhatIf -PassThru | Should -BeNullOrEmpty
        { Dismount-BackupImage $bundle -ErrorAction Stop } | Should -Throw -ErrorId 'ImageNotMounted,*'
    }
}
